"""What trainers do with rewards that they keep while the task's unit moves, and with rows that are stretches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.dqn import DQN, DQNConfig
from seqrl.trainers.q_table import QTableConfig


def task_of(kind: str = "action_values", **settings: Any) -> EnvTask:
    settings = {"environment": "MountainCar-v0", "num_envs": 2, "num_steps": 6, "max_episode_steps": 5, **settings}
    return ControlConfig(policy=ControlPolicyConfig(type=kind), **settings).build(seed=0)  # type: ignore[arg-type]


def deviation_of(rewards: list[np.ndarray], ended: list[np.ndarray], counted: list[np.ndarray], gamma: float) -> float:
    """Of all discounted returns so far, by the textbook's loop."""
    totals, running = [], np.zeros(rewards[0].shape[0])
    for reward, end, count in zip(rewards, ended, counted, strict=True):
        for t in range(reward.shape[1]):
            running = running * gamma + reward[:, t]
            totals += running[count[:, t]].tolist()
            running = np.where(end[:, t], 0.0, running)
    return float(np.std(totals))


@pytest.mark.parametrize(("network", "clip"), [({}, 0.0), ({"memory": "lstm"}, 0.0), ({}, 0.8)])
def test_what_a_replay_kept_is_drawn_in_the_unit_of_the_moment(network: dict[str, Any], clip: float) -> None:
    """All rewards are -1, so that what is drawn is -1 over the deviation, clipped, whenever it was earned."""
    task = task_of(reward_scale=True, reward_discount=0.9, reward_clip=clip)
    task.config.policy.action_values = type(task.config.policy.action_values)(**network)
    trainer = DQN(task.build_policy(), DQNConfig(window_steps=3, learning_starts=10**6), num_updates=3)
    rewards, ended, counted, seen = [], [], [], []
    for _ in range(3):
        rows = trainer.collect(task)
        assert set(rows.reward[rows.mask].tolist()) == {-1.0}
        trainer.update(rows)
        rewards.append(rows.reward.double().numpy())
        ended.append((rows.terminated | rows.truncated).numpy())
        counted.append(rows.mask.numpy())
        drawn = trainer.replay.draw(64)
        expected = max(-1.0 / deviation_of(rewards, ended, counted, 0.9), -clip or -np.inf)
        earned = drawn.trajectory.reward[drawn.trajectory.mask]
        torch.testing.assert_close(earned, torch.full_like(earned, expected))
        seen.append(expected)
    assert clip or len(set(seen)) > 1


def test_rewards_that_are_only_clipped_are_kept_as_they_were() -> None:
    task = task_of(reward_clip=0.5)
    trainer = DQN(task.build_policy(), DQNConfig(), num_updates=1)
    assert trainer.collect(task).reward.min() == -0.5 and trainer.replay.present is None


def test_a_replay_of_an_older_version_is_not_divided_again() -> None:
    for scaled, replay, is_refused in ((True, "uniform", True), (True, "none", False), (False, "uniform", False)):
        task = task_of(reward_scale=scaled)
        config = DQNConfig(replay=replay, window_steps=3)  # type: ignore[arg-type]
        trainer, again = (DQN(task.build_policy(), config, num_updates=3) for _ in range(2))
        trainer.update(trainer.collect(task))
        state = trainer.state_dict()
        again.load_state_dict(state)
        again.collect(task)  # one of this version goes on
        again.load_state_dict({name: value for name, value in state.items() if name != "keeps_raw"})
        if is_refused:
            with pytest.raises(ValueError, match="replay: was filled by an older version .* start a new run with init_from"):
                again.collect(task)
        else:
            again.collect(task)


def test_a_table_keeps_its_units() -> None:
    task = task_of("action_value_table", environment="FrozenLake-v1", reward_scale=True)
    with pytest.raises(ValueError, match=r"q_table: expected rewards of one unit.*set task.reward_scale=false and.*task.reward_clip=1"):
        QTableConfig().build(task.build_policy(), seed=0, num_updates=1).collect(task)
    as_advised = task_of("action_value_table", environment="FrozenLake-v1", reward_clip=1.0)
    learner = QTableConfig().build(as_advised.build_policy(), seed=0, num_updates=1)
    learner.update(learner.collect(as_advised))


@pytest.mark.parametrize("kind", ["control", "atari"])
def test_stretches_are_refused_where_rows_are_compared_and_the_advice_works(kind: str) -> None:
    def made(mode: str) -> Any:
        if kind == "control":
            return task_of("actor_critic", mode=mode)
        pytest.importorskip("ale_py")
        from seqrl.tasks.atari.task import AtariConfig

        return AtariConfig(mode=mode, num_envs=2, num_steps=4, max_frames=24, precision="fp32").build(0)  # type: ignore[arg-type]

    task = made("steps")
    learner = CrossEntropyConfig().build(task.build_policy(), seed=0, num_updates=1)
    with pytest.raises(ValueError, match="trainer cem: expected whole episodes.*set task.mode=episodes"):
        learner.collect(task)
    assert task.pop_metrics()["progress/num_env_steps"] == 0  # before the first rollout
    task = made("episodes")
    rows = learner.collect(task)
    assert bool((rows.terminated | rows.truncated).sum(dim=1).eq(1).all())
    with pytest.raises(ValueError, match="cannot give num_samples = 2; set task.mode=episodes"):
        made("steps").rollout(learner.policy, num_samples=2)
