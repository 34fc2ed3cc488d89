"""Trainers on each kind of task, for tests of two processes: what is trained, and on which rows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tasks" / "attention"))

from small import small_task
from toy_tokens import LIKED, TokenPolicy, TokenTask

from seqrl import A2CConfig, OffPolicyConfig, PPOConfig, ReinforceConfig, SACConfig, SelfCriticalConfig, VTraceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig
from seqrl.trainers.bonus import BonusConfig
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.dqn import DQNConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.supervised import SupervisedConfig
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trajectory import Evaluation, Trajectory, concatenate

# AdamW makes large steps of gradients that are nearly nothing; not with this epsilon.
PLAIN = OptimiserConfig(learning_rate=0.01, epsilon=1e-4, precision="fp32")


class WordsPolicy(TokenPolicy):
    """Has an auxiliary loss that is a mean over some steps only, as word detection is one over words that were said."""

    def aux_count(self, trajectory: Trajectory) -> torch.Tensor:
        return (trajectory.counted & (trajectory.action == LIKED)).sum().float()

    def forward(self, trajectory: Trajectory) -> Evaluation:
        evaluation = super().forward(trajectory)
        error = (evaluation.value - 1).square()[trajectory.counted & (trajectory.action == LIKED)]
        return dataclasses.replace(evaluation, aux_loss=error.mean() if len(error) else None)


def control(mode: str) -> Any:
    policy = ControlPolicyConfig(hidden_sizes=(8,), actor_critic=ActorCriticConfig(normalise_observations=True))
    if mode == "values":
        mode, policy = "steps", ControlPolicyConfig(type="action_values", hidden_sizes=(8,))
    if mode == "soft":
        mode, policy = "steps", ControlPolicyConfig(type="soft_actor_critic", hidden_sizes=(8,))
    return ControlConfig(num_envs=8, num_steps=12, mode=mode, max_episode_steps=14, policy=policy).build(0)  # type: ignore[arg-type]


def task_of(kind: str) -> Any:
    if kind == "tokens":
        return TokenTask(num_contexts=6)
    return small_task(images_per_batch=8) if kind == "glimpses" else control(kind)


def policy_of(kind: str) -> Any:
    return WordsPolicy() if kind == "tokens" else task_of(kind).build_policy()


PPO, TRPO = PPOConfig(epochs=2, minibatches=1), TRPOConfig(critic_epochs=2, critic_minibatches=1)
FORETOLD = BonusConfig("random_distillation", 1.0, hidden_sizes=(8,), optimiser=PLAIN)
STEPS = {
    "foretold": PPOConfig(epochs=2, minibatches=1, bonus=FORETOLD),
    "pseudo_counts": PPOConfig(epochs=2, minibatches=1, bonus=BonusConfig("pseudo_counts", 1.0)),
    "unit": PPOConfig(epochs=2, minibatches=1, minibatch_unit="steps"),
    "a2c": A2CConfig(),
    "vtrace": VTraceConfig(),
}
ONE_EPISODE_A_ROW = {
    "none": ReinforceConfig(baseline="none"),
    "whole_returns": ReinforceConfig(baseline="none", reward_to_go=False, ent_coef=0.1),
    "off_policy": OffPolicyConfig(epochs=2, max_weight=3.0),
}
ANYWHERE = {
    "ppo": PPO,
    "critic": ReinforceConfig(baseline="critic", whiten=True),
    "moving_average": ReinforceConfig(baseline="moving_average"),
}
TOKENS = {
    "leave_one_out": SelfCriticalConfig(num_samples=4),
    "supervised": SupervisedConfig(label_smoothing=0.1),
    "cem_by_group": CrossEntropyConfig(num_samples=6, threshold="group", percentile=60, gradient_steps=2),
}
KINDS: dict[str, dict[str, Any]] = {
    "tokens": ANYWHERE | ONE_EPISODE_A_ROW | TOKENS,
    "glimpses": ANYWHERE | ONE_EPISODE_A_ROW | {"a2c": A2CConfig(), "trpo": TRPO},
    "steps": ANYWHERE | STEPS | {"trpo": TRPO},
    "episodes": ANYWHERE | ONE_EPISODE_A_ROW | STEPS | {"trpo": TRPO},
}
CELLS = {f"{kind}/{name}": config for kind, configs in KINDS.items() for name, config in configs.items()}

MIX = ImitationConfig(weight=0.3)
# One process has so few rows or steps that it could take fewer optimiser steps than the other, or counts nothing at all.
UNEVEN: dict[str, Any] = {
    "tokens/uneven_rows": PPOConfig(epochs=2, minibatches=4, advantage="leave_one_out", normalise_advantage=True),
    "steps/uneven_rows": PPOConfig(epochs=2, minibatches=4),
    "steps/uneven_steps": PPOConfig(epochs=2, minibatches=8, minibatch_unit="steps"),
    "steps/uneven_trpo": TRPOConfig(critic_epochs=2, critic_minibatches=8, minibatch_unit="steps"),
    "tokens/no_demonstrations_ppo": PPOConfig(epochs=2, minibatches=2, advantage="leave_one_out", imitation=MIX),
    "tokens/no_demonstrations": SelfCriticalConfig(imitation=MIX),
    "tokens/no_demonstrations_reinforce": ReinforceConfig(imitation=MIX),
    "tokens/no_elites": CrossEntropyConfig(num_samples=6, threshold="group", gradient_steps=2),
    "steps/nothing_counts_a2c": A2CConfig(),
    "steps/nothing_counts_critic": ReinforceConfig(baseline="critic", whiten=True),
    "steps/nothing_counts_average": ReinforceConfig(baseline="moving_average"),
    "steps/nothing_counts_vtrace": VTraceConfig(),
    "values/nothing_counts_at_first": DQNConfig(learning_starts=8, batch_size=4, gradient_steps=2),
    "soft/nothing_counts_at_first": SACConfig(learning_starts=8, batch_size=4, gradient_steps=2),
}


def uneven_rows(cell: str, rank: int, update: int) -> Trajectory:
    """Give the rows of one of two processes."""
    rows = rows_of(cell)
    if cell.startswith("tokens/no_demonstrations"):
        shown = TokenTask(num_contexts=6).demonstrations()
        return rows if rank else concatenate([rows, shown])
    if cell == "tokens/no_elites":  # where all rows score the same
        return rows.replace(reward=torch.zeros_like(rows.reward)) if rank else rows
    if "nothing_counts" in cell:
        nothing = rows.replace(mask=torch.zeros_like(rows.mask))
        return nothing if rank and (update == 0 or "first" not in cell) else rows
    if "unit" in cell or "steps/uneven_steps" in cell or "trpo" in cell:
        few = torch.zeros_like(rows.mask)
        few[0, : 3 - update] = True
        return rows.replace(mask=rows.mask & few) if rank else rows
    assert rows.group is None or cell.startswith("tokens")
    return rows.select_rows(torch.arange(2)) if rank else rows


def trainer_of(cell: str, **settings: Any) -> Any:
    """Build a cell's trainer, the same each time."""
    config = dataclasses.replace((CELLS | UNEVEN)[cell], optimiser=dataclasses.replace(PLAIN, **settings))
    return config.build(policy_of(cell.partition("/")[0]), seed=3, num_updates=5)


def rows_of(cell: str) -> Trajectory:
    """Collect some rows."""
    kind = cell.partition("/")[0]
    if cell == "tokens/supervised":
        return TokenTask(num_contexts=6).demonstrations()
    policy, task, generator = policy_of(kind).eval(), task_of(kind), torch.Generator().manual_seed(1)
    for _ in range(2):  # the second stretch starts somewhere in an episode, and what it sees is normalised
        rows: Trajectory = task.rollout(policy, num_samples=6 if kind == "tokens" else 1, generator=generator)
    return rows
