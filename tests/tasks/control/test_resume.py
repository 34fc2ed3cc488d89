"""N + N updates end with the weights of 2N, to the bit, for everything whose episodes a seed and its actions repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqrl.tasks.control.environments import environment_state, make_environments, set_environment_state
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask
from seqrl.trainers.ppo import PPO, PPOConfig


def train(settings: dict[str, Any], path: Path | None, *, start: int, stop: int, policy: Any = None) -> tuple[EnvTask, Any, PPO]:
    task = ControlConfig(**{"num_envs": 3, "num_steps": 12, "policy": ControlPolicyConfig(hidden_sizes=(8,)), **settings}).build(7)
    policy = task.build_policy()
    trainer = PPO(policy, PPOConfig(epochs=2, minibatches=2), seed=3, num_updates=6)
    if start and path is not None:
        saved = torch.load(path, weights_only=True)
        policy.load_state_dict(saved["policy"])
        trainer.load_state_dict(saved["trainer"])
        task.load_state_dict(saved["task"])
    for _ in range(start, stop):
        trainer.update(trainer.collect(task))
    if path is not None:
        torch.save({"policy": policy.state_dict(), "trainer": trainer.state_dict(), "task": task.state_dict()}, path)
    return task, policy, trainer


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "CartPole-v1"},
        {"environment": "CartPole-v1", "vectorization": "sync", "frame_stack": 3},
        {"environment": "CartPole-v1", "vectorization": "async", "num_envs": 2, "max_episode_steps": 5},
        {"environment": "seqrl/CartPoleMasked-v1", "reward_scale": True, "reward_clip": 5.0},
        {"environment": "Acrobot-v1", "max_episode_steps": 9},
        {"environment": "FrozenLake-v1", "max_episode_steps": 6},
        {"environment": "Taxi-v4", "max_episode_steps": 11, "action_masks": True},
        {"environment": "LunarLander-v3", "num_steps": 100},
        {"environment": "Pendulum-v1", "reward_scale": True, "max_episode_steps": 12},
        {"environment": "Hopper-v5", "num_steps": 40},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_run_in_halves_ends_with_the_same_weights(settings: dict[str, Any], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    whole, policy, _ = train(settings, None, start=0, stop=6)
    train(settings, tmp_path / "half.pt", start=0, stop=3)
    resumed, other, _ = train(settings, tmp_path / "half.pt", start=3, stop=6)
    assert not [warning for warning in recwarn if "start anew" in str(warning.message)]
    for one, two in zip(policy.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert whole.pop_metrics()["progress/num_env_steps"] == resumed.pop_metrics()["progress/num_env_steps"]


def test_a_copy_goes_back_to_the_same_future_from_every_step() -> None:
    envs, other = (make_environments("CartPole-v1", 2, vectorization="sync") for _ in range(2))
    envs.reset(seed=1)
    other.reset(seed=2)
    actions = np.random.default_rng(0).integers(0, 2, (60, 2))
    futures = [(environment_state(envs), None)]
    for action in actions:
        futures.append((None, envs.step(action)))
        futures.append((environment_state(envs), None))
    # Among these states are ends of episodes, whose next step is the dummy one.
    assert any(row["ended"] for state, _ in futures if state for row in state["rows"])
    for t in range(0, 59):
        state = futures[2 * t][0]
        assert state is not None and set_environment_state(other, state)
        for k in (t, t + 1):
            expected = futures[2 * k + 1][1]
            assert expected is not None
            for one, two in zip(other.step(actions[k])[:4], expected[:4], strict=True):
                np.testing.assert_array_equal(one, two)


def test_each_episode_of_a_row_is_another() -> None:
    envs = make_environments("CartPole-v1", 2, vectorization="sync", max_episode_steps=2)
    starts = [envs.reset(seed=5)[0]]
    for _ in range(3):
        for _ in range(3):
            observation = envs.step(np.array([0, 1]))[0]
        starts.append(observation)
    assert len(np.unique(np.concatenate(starts), axis=0)) == 8
