from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from seqrl.policies.action_values import ActionValuesConfig
from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.control.policy import ControlPolicyConfig, build_policy

CONFIGS = Path(__file__).parents[3] / "configs" / "control"
SEEN = Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize("space", [Box(-1.0, 1.0, (2,)), MultiDiscrete([2, 3])])
def test_actions_that_cannot_be_numbered_are_refused(space: gym.Space) -> None:
    with pytest.raises(ValueError, match="needs a Discrete action space, got .*type: actor_critic, which ppo"):
        build_policy(ControlPolicyConfig(type="action_values"), SEEN, space, None)


def test_network_fits_the_spaces() -> None:
    config = ControlPolicyConfig(type="action_values", hidden_sizes=(5,), action_values=ActionValuesConfig(dueling=True))
    masked = Dict({"observation": SEEN, "action_mask": Box(0, 1, (4,), np.int8)})
    for space, inputs in ((SEEN, 3), (Discrete(7), 7), (masked, 3)):
        policy = build_policy(config, space, Discrete(4), None)
        assert policy.num_actions == 4 and next(policy.advantage.parameters()).shape == (5, inputs)
    with pytest.raises(ValueError, match="Box or Discrete observation space"):
        build_policy(config, MultiDiscrete([2, 2]), Discrete(4), None)


@pytest.mark.parametrize("network", ["{}", "{noisy: true, dueling: true}", "{memory: lstm, memory_size: 8}"])
def test_interrupted_run_ends_with_the_same_weights(network: str, tmp_path: Path) -> None:
    policy = f"{{type: action_values, hidden_sizes: [8], action_values: {network}}}"
    task = f"{{type: control, num_envs: 4, num_steps: 16, policy: {policy}}}"
    # An exponent that rises, like a learning rate that falls, depends on the length of the run.
    replay = "replay: prioritised, importance_exponent: 1, window_steps: 6"
    trainer = f"{{type: dqn, learning_starts: 30, gradient_steps: 3, batch_size: 8, target_every: 2, {replay}}}"
    common = f"eval_every: 0\nsave_every: 2\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {trainer}\n"
    for name, steps in (("whole", 4), ("halves", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nnum_updates: {steps}\n{common}", encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml"), display=False)
    resume(tmp_path / "halves", ["--num_updates=4"], display=False)
    _, _, whole, _ = load(tmp_path / "whole")
    _, _, halves, _ = load(tmp_path / "halves")
    for one, two in zip(whole.parameters(), halves.parameters(), strict=True):
        assert bool((one == two).all())


@pytest.mark.slow
def test_rainbow_solves_cartpole(tmp_path: Path) -> None:
    overrides = [
        f"--runs_folder={tmp_path}",
        "--num_threads=1",
        "--num_updates=140",
        "--eval_every=0",
        "--trainer.optimiser.precision=fp32",
    ]
    train(read_config(CONFIGS / "cartpole_dqn_rainbow.yaml", overrides), display=False)
    _, task, policy, _ = load(tmp_path / "cartpole_dqn_rainbow")
    assert task.evaluate(policy, split="test")["return_mean"] >= 400
