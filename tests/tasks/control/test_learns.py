from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train

CONFIGS = Path(__file__).parents[3] / "configs" / "control"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["cartpole_ppo", "cartpole_reinforce"])
def test_solves_cartpole(name: str, seed: int, tmp_path) -> None:
    config = read_config(CONFIGS / f"{name}.yaml", [f"--seed={seed}", f"--runs_folder={tmp_path}", "--num_threads=1"])
    result = train(config, display=False)
    assert result.evaluation["return_mean"] >= 475  # gymnasium's threshold
    _, task, policy, _ = load(tmp_path / name)
    assert task.evaluate(policy, split="test")["return_mean"] >= 475  # start states that were never watched


@pytest.mark.parametrize(
    ("mode", "trainer"),
    [
        ("steps", "{type: ppo, minibatches: 2}"),
        ("episodes", "{type: reinforce, num_samples: 1}"),
        ("episodes", "{type: self_critical, baseline: greedy, num_samples: 2}"),
    ],
)
def test_interrupted_run_ends_with_the_same_weights(mode: str, trainer: str, tmp_path) -> None:
    task = f"{{type: control, mode: {mode}, num_envs: 4, num_steps: 16, policy: {{hidden_sizes: [8]}}}}"
    common = f"eval_every: 0\nsave_every: 2\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {trainer}\n"
    for name, steps in (("whole", 4), ("halves", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nnum_updates: {steps}\n{common}", encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml"), display=False)
    resume(tmp_path / "halves", ["--num_updates=4"], display=False)
    _, _, whole, _ = load(tmp_path / "whole")
    _, _, halves, _ = load(tmp_path / "halves")
    for one, two in zip(whole.parameters(), halves.parameters(), strict=True):
        assert bool((one == two).all())
