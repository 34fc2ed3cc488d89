from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqrl.run.compare import compare, summarise, watched_metric


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = []
    for group, base in (("low", 0.0), ("high", 10.0)):
        for seed in range(4):
            folder = tmp_path / f"{group}_seed{seed}"
            folder.mkdir()
            rows = [{"step": step, "dev/x": value, "time/elapsed_s": step} for step, value in enumerate((0.0, base + 5.0, base + seed**2))]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            folders.append(folder)
    return folders


def test_table_by_hand(runs: list[Path], tmp_path: Path) -> None:
    text = compare(runs)
    # Last values 0, 1, 4, 9: the middle half is 1 and 4.
    low, high = text.splitlines()[2:4]
    assert [cell.strip() for cell in low.split("|")][1:4] == ["low", "4", "2.5"]
    assert [cell.strip() for cell in high.split("|")][1:4] == ["high", "4", "12.5"]
    record = json.loads((tmp_path / "compare" / "compare.json").read_text())
    assert record["groups"][0]["values"] == [0.0, 1.0, 4.0, 9.0]
    assert record["groups"][0]["low"] < 2.5 < record["groups"][0]["high"]
    assert (tmp_path / "compare" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_best_value_goes_by_the_mode(runs: list[Path]) -> None:
    assert summarise("low", runs[:4], "dev/x", at="best").values == [5.0, 5.0, 5.0, 9.0]
    assert summarise("low", runs[:4], "dev/x", at="best", mode="min").values == [0.0] * 4


def test_single_seed_has_no_interval(runs: list[Path], tmp_path: Path) -> None:
    assert "one seed" in compare(runs[:1], output=tmp_path / "one")
    assert json.loads((tmp_path / "one" / "compare.json").read_text())["groups"][0]["low"] is None


def test_which_figure(runs: list[Path]) -> None:
    assert watched_metric(runs[0]) == "dev/x"
    (runs[0] / "config.yaml").write_text("early_stop: {metric: y}\n")
    assert watched_metric(runs[0]) == "dev/y"
    with pytest.raises(ValueError, match="logged no 'dev/y'"):
        compare(runs)
    with pytest.raises(FileNotFoundError):
        compare([Path("absent")])
