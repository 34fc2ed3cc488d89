"""Every trainer of continuous actions moves the weights of a policy that follows axons, and a short run learns to follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqrl.run.config import read_config
from seqrl.run.train import train
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.tasks.tracking import ENVIRONMENT
from seqrl.trainers.a2c import A2CConfig
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.ppo import PPOConfig
from seqrl.trainers.reinforce import ReinforceConfig
from seqrl.trainers.self_critical import SelfCriticalConfig
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trainers.vtrace import VTraceConfig

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("memory", ["none", "lstm"])
@pytest.mark.parametrize(
    ("mode", "trainer"),
    [
        ("steps", PPOConfig(minibatches=2)),
        ("steps", ReinforceConfig(num_samples=1, baseline="critic")),
        ("steps", A2CConfig()),
        ("steps", TRPOConfig()),
        ("steps", VTraceConfig()),
        ("episodes", ReinforceConfig(num_samples=2)),
        ("episodes", SelfCriticalConfig(num_samples=2, baseline="greedy")),
        ("episodes", CrossEntropyConfig(percentile=50, gradient_steps=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_trainers_move_the_weights(mode: Any, trainer: Any, memory: Any) -> None:
    policy = ControlPolicyConfig((8,))
    policy.actor_critic.memory, policy.actor_critic.memory_size = memory, 8
    task = ControlConfig(ENVIRONMENT, mode=mode, num_envs=4, num_steps=8, max_episode_steps=8, policy=policy).build(0)
    made = task.build_policy()
    before = {name: weight.clone() for name, weight in made.named_parameters()}
    running = trainer.build(made, seed=0, num_updates=2)
    stats = running.update(running.collect(task))
    assert all(np.isfinite(value) for value in stats.values())
    moved = [name for name, weight in made.named_parameters() if not torch.equal(weight, before[name])]
    assert "log_std" in moved and any("actor" in name for name in moved)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_updates"), [("tracking_reinforce", 120), ("tracking_ppo", 100)])
def test_a_short_run_learns_to_follow_axons(name: str, num_updates: int, tmp_path: Path) -> None:
    settings = [f"--runs_folder={tmp_path}", f"--num_updates={num_updates}", f"--eval_every={num_updates}", "--save_every=0"]
    settings += ["--num_threads=1", "--task.num_eval_episodes=50"]
    result = train(read_config(ROOT / "configs" / "tracking" / f"{name}.yaml", settings), display=False)
    assert result.evaluation["coverage"] >= 0.5  # at first: 0.04
