from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from seqrl.run.compare import compare, solved_at, summarise, watched_metric
from seqrl.run.plots import _draw_group, read_curve


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


def write(folder: Path, rows: list[dict[str, float]]) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_when_it_was_solved_by_hand() -> None:
    places = np.array([0.0, 10, 20, 30, 40, 50, 60])
    assert solved_at(places, np.array([0, 9, 9, 1, 9, 9, 9.0]), 9) == (40.0, 1.0)
    assert solved_at(places, np.array([0, 9, 9, 9, 8, 9, 1.0]), 9) == (10.0, 4 / 6)
    assert solved_at(places, -np.array([0, 9, 9, 9, 8, 9, 1.0]), -9, "min") == (10.0, 4 / 6)
    assert all(math.isnan(number) for number in solved_at(places, np.array([9, 9, 0, 9, 9, 0, 9.0]), 9))


def test_agents_are_compared_at_equal_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed logged every 100 steps and one every 250: they are averaged at the same numbers of steps."""
    folders = [
        write(
            tmp_path / f"agent_seed{seed}",
            [{"step": s, "progress/num_env_steps": pace * s, "time/train_s": s, "dev/return_mean": pace * s + seed} for s in range(11)],
        )
        for seed, pace in enumerate((100.0, 250.0))
    ]
    drawn: list[tuple[str, np.ndarray, np.ndarray]] = []

    class Panel:
        def plot(self, x: np.ndarray, y: np.ndarray, **style: object) -> None:
            if "label" in style:
                drawn.append((str(style["label"]), x, y))

        def fill_between(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, **style: object) -> None:
            assert (low <= high).all()

    curves = [read_curve(folder, "dev/return_mean", "progress/num_env_steps") for folder in folders]
    _draw_group(Panel(), "agent", curves, "k", "-")
    ((label, x, y),) = drawn
    assert label == "agent (2 seeds)" and x[0] == 0 and x[-1] == 1000
    np.testing.assert_allclose(y, x + 0.5)  # both curves are the number of steps, plus the seed
    asked: list[tuple[str, ...]] = []

    def noted(runs: list[Path], metrics: list[str], path: Path, *, axes: tuple[str, ...]) -> Path:
        asked.append(axes)
        return path

    monkeypatch.setattr("seqrl.run.compare.learning_curves", noted)
    text = compare(folders, solved=750)
    compare(folders, x="updates")
    assert asked == [("progress/num_env_steps", "time/train_s"), ("step",)]
    row = next(line for line in text.splitlines() if "2 of 2" in line)
    assert [cell.strip() for cell in row.strip("| ").split("|")] == ["agent", "2 of 2", "800, 750", "8, 3", "100%, 100%"]


def test_without_evaluations_the_return_of_the_episodes_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [{"step": 1, "reward/mean": 1.0}, {"step": 2, "reward/mean": 1.0, "episode/return_mean": 3.0}])
    assert watched_metric(folder) == "episode/return_mean"


def test_single_seed_has_no_interval(runs: list[Path], tmp_path: Path) -> None:
    assert "one seed" in compare(runs[:1], output=tmp_path / "one")
    assert json.loads((tmp_path / "one" / "compare.json").read_text())["groups"][0]["low"] is None


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    compare([write(tmp_path / "NaNo", [{"step": 1, "dev/x": 1.0, "time/elapsed_s": 1.0}])])
    assert json.loads((tmp_path / "compare" / "compare.json").read_text())["groups"][0]["name"] == "NaNo"


def test_which_metric(runs: list[Path]) -> None:
    assert watched_metric(runs[0]) == "dev/x"
    (runs[0] / "config.yaml").write_text("early_stop: {metric: y}\n")
    assert watched_metric(runs[0]) == "dev/y"
    with pytest.raises(ValueError, match="logged no 'dev/y'"):
        compare(runs)
    with pytest.raises(FileNotFoundError):
        compare([Path("absent")])
