"""The matrix of rewards and metrics: what is trained for, how seeds are averaged, and that it is drawn."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from seqrl.run.config import read_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("reward_matrix")


def test_a_run_is_rewarded_with_its_metric_alone(benchmark: Any) -> None:
    for reward in ("cider_d", "bleu4", "rouge_l"):
        config = read_config(benchmark.CONFIG, [*benchmark.FIXED, benchmark.weights_of(reward)])
        assert {name for name, weight in config.task.reward.metrics.items() if weight} == {reward}
        assert config.early_stop is None and config.eval_every == 0


def test_seeds_are_averaged_and_cells_hold_the_figure_and_its_change(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        benchmark.START: [{"cider_d": 0.4, "bleu4": 0.2}, {"cider_d": 0.6, "bleu4": 0.2}],
        "cider_d": [{"cider_d": 0.5, "bleu4": 0.18}, {"cider_d": 0.7, "bleu4": 0.18}],
        "cider_d+spice": [{"cider_d": 0.5, "bleu4": 0.2}, {"cider_d": 0.5, "bleu4": 0.2}],
    }
    summary = {name: benchmark.mean_of_seeds(each) for name, each in rows.items()}
    assert summary["cider_d"]["cider_d"] == pytest.approx({"mean": 0.6, "low": 0.5, "high": 0.7})
    written = benchmark.cells(summary, ["cider_d", "bleu4"])
    assert written == [["0.600\n+20.0%", "0.180\n-10.0%"], ["0.500\n+0.0%", "0.200\n+0.0%"]]
    benchmark.draw({"greedy": summary, "beam": summary}, ["cider_d", "bleu4"], tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    assert benchmark.title_of("cider_d+spice") == "CIDEr-D + SPICE"


def test_runs_are_asked_for_one_by_one(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str, int]] = []

    def make_run(folder: Path, reward: str, start: Path, seed: int, updates: int) -> Path:
        asked.append((str(folder), reward, str(start), updates))
        return folder / f"{reward}_seed{seed}"

    monkeypatch.setattr(benchmark, "make_run", make_run)
    arguments = ["--seeds=1,2", "--rewards=bleu4", "--starts=s", "--folder=f", "--updates=7", "--train-only", "--allow-dirty"]
    monkeypatch.setattr(sys, "argv", ["reward_matrix.py", *arguments])
    benchmark.main()
    assert asked == [("f", "bleu4", "s/xe_seed1", 7), ("f", "bleu4", "s/xe_seed2", 7)]
    monkeypatch.setattr(sys, "argv", ["reward_matrix.py", "--rewards=bleu5", "--allow-dirty"])
    with pytest.raises(SystemExit, match="rewards: expected some of cider_d, bleu4, .*, got bleu5"):
        benchmark.main()
