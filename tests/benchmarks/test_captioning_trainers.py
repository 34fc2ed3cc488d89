"""The benchmark of the trainers runs, keeps to its settings, and averages as it says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
SMALL = [f"--task.data.scenes.{name}={count}" for name, count in {"num_train": 24, "num_dev": 6, "num_test": 6}.items()]
SMALL += ["--task.images_per_batch=2", "--task.policy.dim=16", "--task.policy.num_layers=1", "--task.policy.num_heads=2"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the module sets them; so they are put back afterwards
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("captioning_trainers", ROOT / "benchmarks" / "captioning_trainers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_methods(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    output, figure = tmp_path / "out.json", tmp_path / "out.png"
    command = ["--seeds=0,1", "--updates=2", "--methods=reinforce_critic,ppo_leave_one_out", "--warm-steps=1"]
    command += [f"--runs={tmp_path / 'runs'}", f"--output={output}", f"--figure={figure}", *SMALL]
    benchmark.main(command)
    report = json.loads(output.read_text())
    assert [(run["method"], run["seed"]) for run in report["runs"]] == [
        ("reinforce_critic", 0),
        ("reinforce_critic", 1),
        ("ppo_leave_one_out", 0),
        ("ppo_leave_one_out", 1),
    ]
    starts = {run["evaluations"]["value"][0] for run in report["runs"]}
    assert starts == {report["summary"]["start"]}  # all began with the same weights
    for run in report["runs"]:
        assert run["evaluations"]["samples"] == [0, 10, 20]
        assert run["evaluations"]["processor_s"][0] == 0 < run["evaluations"]["processor_s"][1] < run["evaluations"]["processor_s"][2]
        assert run["rewards"]["samples"] == [10, 20]
    assert report["summary"]["methods"]["ppo_leave_one_out"]["optimiser_steps_an_update"] > 1
    assert report["num_threads"] == 1 and report["packages"]["torch"] == torch.__version__
    assert figure.read_bytes().startswith(b"\x89PNG")
    weights = {
        name: load_file(tmp_path / "runs" / name / "checkpoints" / "step_00000002" / "model.safetensors") for name in names(tmp_path)
    }
    warm = load_file(tmp_path / "runs" / "warm" / "checkpoints" / "step_00000001" / "model.safetensors")
    for name, tensors in weights.items():
        learned = {key for key in tensors if key.startswith("critic.") and not torch.equal(tensors[key], warm[key])}
        assert bool(learned) == name.startswith("reinforce_critic")

    # What is finished is not done again; other settings are.
    monkeypatch.setattr(benchmark, "measure", lambda config, updates=None: [] if updates else pytest.fail("ran again"))
    benchmark.main(command)
    assert json.loads(output.read_text())["summary"] == report["summary"]
    with pytest.raises(pytest.fail.Exception, match="ran again"):
        benchmark.main([*command, "--trainer.optimiser.learning_rate=1e-3"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "runs").glob("*_seed*"))


def test_summary_by_hand(benchmark: Any) -> None:
    def record(method: str, seed: int, seconds: float, end: float) -> dict[str, Any]:
        curve = {"samples": [0, 10, 20], "processor_s": [0.0, seconds / 2, seconds], "value": [1.0, 1.0, end]}
        rewards = {"samples": [5, 15], "processor_s": [1.0, 2.0], "value": [0.0, end / 2]}
        return {"method": method, "seed": seed, "optimiser_steps": 1.0, "evaluations": curve, "rewards": rewards}

    summary = benchmark.summarise([record("quick", 0, 4.0, 2.0), record("quick", 1, 4.0, 4.0), record("slow", 0, 6.0, 4.0)])
    assert summary["same_time_s"] == 4.0 and summary["start"] == 1.0
    quick, slow = summary["methods"]["quick"], summary["methods"]["slow"]
    assert quick["dev_cider_d"] == {"mean": 3.0, "low": 2.0, "high": 4.0, "values": [2.0, 4.0]}
    assert quick["train_reward"]["mean"] == 1.5
    assert slow["dev_cider_d"] == {"mean": 4.0, "low": None, "high": None, "values": [4.0]}
    assert slow["dev_cider_d_at_same_time"]["mean"] == 2.0  # 4 s lie a third between 3 s (1.0) and 6 s (4.0)
    text = benchmark.table(summary, 20)
    assert "| quick | 1.0 | 3.000 (2.000-4.000) | 1.500 (1.000-2.000) | 4.0 (4.0-4.0) | 3.000 (2.000-4.000) |" in text
    assert "| slow | 1.0 | 4.000 | 2.000 | 6.0 | 2.000 |" in text


def test_unknown_method_is_named(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--methods=ppo_gea"])
    assert "unknown ppo_gea" in capsys.readouterr().err
