from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqrl.run.plots import common_places, group_by_seed, learning_curves, read_curve, run_curves


def write_run(folder: Path, rows: list[dict[str, float | None]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_groups_by_seed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("b_seed0", "a", "b_seed12", "b_seedling")]
    assert group_by_seed(folders) == {"b": [folders[0], folders[2]], "a": [folders[1]], "b_seedling": [folders[3]]}


def test_curve_reads_lines_that_have_both(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "r", [{"step": 0, "dev/x": 1.0}, {"step": 1, "t": 5.0, "dev/x": 2.0}, {"step": 2, "t": 6.0}, {"step": 3, "dev/x": None}]
    )
    assert [list(column) for column in read_curve(folder, "dev/x")] == [[0, 1], [1.0, 2.0]]
    assert [list(column) for column in read_curve(folder, "dev/x", "t")] == [[5], [2]]
    with pytest.raises(ValueError, match="logged no 'dev/y'; did you mean 'dev/x'"):
        read_curve(folder, "dev/y")


def test_common_places() -> None:
    same = np.array([0.0, 1.0, 4.0])
    assert common_places([same, same.copy()]) is same
    np.testing.assert_allclose(common_places([np.array([0.0, 10.0]), np.array([2.0, 4.0, 8.0])], 4), [2, 4, 6, 8])


def test_pictures(tmp_path: Path) -> None:
    folders = [
        write_run(
            tmp_path / f"{name}_seed{seed}",
            [{"step": step, "dev/x": step * seed, "loss/y": 1.0, "time/elapsed_s": step + seed} for step in range(4)],
        )
        for name in ("a", "b")
        for seed in (0, 1)
    ]
    assert is_png(learning_curves(folders, ["dev/x", "loss/y"], tmp_path / "new" / "p.png", axes=("step", "time/elapsed_s"), title="t"))
    assert is_png(run_curves(folders[0])) and run_curves(folders[0]) == folders[0] / "figures" / "learning_curves.png"


def test_curves_of_a_run_show_dev_first_and_then_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev = [f"dev/{index:02}" for index in range(20)]
    row = {"step": 1.0} | dict.fromkeys(["train/x", "reward/mean", "policy/entropy", "reward/max", "dev/best_00", *dev], 1.0)
    shown: list[list[str]] = []
    monkeypatch.setattr("seqrl.run.plots.learning_curves", lambda folders, metrics, path, title: shown.append(metrics))
    run_curves(write_run(tmp_path / "many", [row]))
    run_curves(write_run(tmp_path / "few", [{"step": 1, "loss/policy": 1.0, "dev/x": 2.0, "time/elapsed_s": 3.0}]))
    assert shown == [[*dev[:13], "train/x", "reward/mean", "policy/entropy"], ["dev/x", "loss/policy"]]


def test_curves_of_an_agent_begin_with_its_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr("seqrl.run.plots.learning_curves", lambda folders, metrics, path, title: shown.append(metrics))
    row = dict.fromkeys(["reward/mean", "loss/policy", "loss/value", "loss/entropy", "policy/entropy", "episode/return_mean"], 1.0)
    run_curves(write_run(tmp_path / "agent", [{"step": 1, **row}]))
    assert shown == [["episode/return_mean", "reward/mean", "loss/policy", "loss/value"]]


def test_a_trainer_may_give_its_figures_other_names(tmp_path: Path) -> None:
    assert is_png(run_curves(write_run(tmp_path / "other", [{"step": step, "time/train_s": step, "own/x": step} for step in range(3)])))
