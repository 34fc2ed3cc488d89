"""Learning a model of the world, for a policy that plans by it (PETS, Chua et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqrl.diagnostics import average_of, describe_rollout
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.policies.planner import Planner
from seqrl.protocols import Task
from seqrl.requirements import hint, require_constant_rewards
from seqrl.settings import Count, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Trajectory


@dataclass
class ModelBasedConfig:
    """Settings of learning a model of the world.

    Attributes:
        gradient_steps: optimiser steps an update.
        batch_size: steps of the world a network sees in each, drawn evenly from all that were met.
        optimiser: see `OptimiserConfig`.
    """

    gradient_steps: Count = 100
    batch_size: Count = 128
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> ModelBased:
        """Make the trainer."""
        return ModelBased(policy, self, seed=seed, num_updates=num_updates)


class ModelBased:
    """Minimises Σ_k E[-log p_k(s', r, end | s, a)] of a planner's networks k over all steps met, each network on draws of its own.

    Args:
        policy: a `Planner`, trained in place.
        config: see `ModelBasedConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy does not plan.

    Source: Chua et al. 2018 (Deep reinforcement learning in a handful of trials using probabilistic dynamics models).
    """

    saved = ("steps",)

    def __init__(self, policy: nn.Module, config: ModelBasedConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, Planner):
            raise ValueError(
                f"model_based teaches the model of a policy that plans, got a {type(policy).__name__}; "
                f"{hint(policy, 'planner')}choose ppo, a2c, dqn or reinforce"
            )
        self.policy: Planner = policy
        self.config = config or ModelBasedConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.steps: list[Tensor] = []  # observations, actions' vectors, changes with rewards, ends

    def check_task(self, task: Task) -> None:
        """Refuse rewards whose unit moves."""
        require_constant_rewards(task, "model_based", "rewards that it has met")

    def collect(self, task: Task) -> Trajectory:
        """Plan for a stretch."""
        self.check_task(task)
        return task.rollout(self.policy.eval(), generator=self.optimiser.generator).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Keep what was met, and fit the networks to all of it."""
        assert isinstance(trajectory.obs, Tensor)
        mask, seen = trajectory.mask, trajectory.obs.flatten(2).float()
        change = torch.cat([seen[:, 1:] - seen[:, :-1], trajectory.reward.unsqueeze(2)], dim=2)
        met = [seen[:, :-1][mask], self.policy.encode(trajectory.action)[mask], change[mask], trajectory.terminated[mask].float()]
        self.steps = [torch.cat(both) for both in zip(self.steps, met, strict=True)] if self.steps else met
        self.policy.model.set_scale(self.steps[0], self.steps[2])
        shape = self.policy.config.num_models, self.config.batch_size
        device, generator = self.optimiser.device, self.optimiser.generator

        def gradients() -> tuple[dict[str, Tensor], list[object]]:
            drawn = torch.randint(len(self.steps[0]), shape, generator=generator, device=device)
            loss = self.policy.model.loss(*(column[drawn] for column in self.steps))
            loss.backward()  # type: ignore[no-untyped-call]
            return {"loss/model": loss.detach() / shape[0]}, []

        history = [self.optimiser.step_on(gradients)[0] for _ in range(self.config.gradient_steps)]  # type: ignore[arg-type]
        self.policy.num_fits += 1
        self.optimiser.finish_update()
        return describe_rollout(trajectory) | average_of(history) | {"replay/num_steps": float(len(self.steps[0]))}

    state_dict = state_of
    load_state_dict = load_state
