"""The settings of deep Q-learning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Literal, get_args

from torch import nn

from seqrl.optimiser import OptimiserConfig
from seqrl.protocols import Trainer

ReplayKind = Literal["uniform", "prioritised", "none"]
TargetNetwork = Literal["hard", "moving_average", "none"]
Loss = Literal["huber", "mse"]
FirstState = Literal["empty", "stored"]


@dataclass
class DQNConfig:
    """Settings of DQN. Steps are those of all environments together.

    What belongs to the network (dueling streams, noisy weights, distributions, memory) is set at `task.policy.action_values`.

    Attributes:
        gamma: discount γ, per step.
        n_step: rewards summed before the bootstrap.
        double: choose the action that follows with the network being learned, rate it with the target network.
        replay: "uniform"; "prioritised"; or "none", which learns from the rollout just made and forgets it.
        buffer_size: steps kept.
        priority_exponent: alpha of prioritised replay; 0 is even.
        importance_exponent: beta of prioritised replay at the beginning; it rises linearly to 1 by the end of the run.
        learning_starts: steps before the first optimiser step.
        batch_size: transitions of a minibatch, or windows for a network with memory.
        gradient_steps: minibatches, and so optimiser steps, an update.
        target_network: "hard", a copy made every `target_every` optimiser steps; "moving_average", which moves by `tau`
            at each; "none", the network itself.
        target_every: optimiser steps between copies.
        tau: the share of the network's weights in the average.
        loss: "huber", linear beyond an error of `huber_delta`, or "mse", which for quantiles is the plain quantile loss;
            categorical estimates have the cross-entropy instead.
        huber_delta: kappa, in the unit of the reward.
        epsilon_start: probability of a chance action at first.
        epsilon_final: the same in the end.
        epsilon_steps: steps over which it falls, linearly.
        window_steps: steps of a window that are learned from, with memory.
        burn_in_steps: steps before them that only bring the memory up to date.
        first_state: the memory at the beginning of a window: "empty" (windows begin anywhere), or "stored" (as the policy had it
            when it acted; windows begin with rollouts).
        optimiser: see `OptimiserConfig`.
    """

    gamma: float = 0.99
    n_step: int = 1
    double: bool = False
    replay: ReplayKind = "uniform"
    buffer_size: int = 50_000
    priority_exponent: float = 0.6
    importance_exponent: float = 0.4
    learning_starts: int = 1_000
    batch_size: int = 64
    gradient_steps: int = 32
    target_network: TargetNetwork = "hard"
    target_every: int = 250
    tau: float = 0.005
    loss: Loss = "huber"
    huber_delta: float = 1.0
    epsilon_start: float = 1.0
    epsilon_final: float = 0.05
    epsilon_steps: int = 10_000
    window_steps: int = 16
    burn_in_steps: int = 0
    first_state: FirstState = "empty"
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(max_grad_norm=10.0))

    def __post_init__(self) -> None:
        choices = {"replay": ReplayKind, "target_network": TargetNetwork, "loss": Loss, "first_state": FirstState}
        for name, literal in choices.items():
            if getattr(self, name) not in get_args(literal):
                raise ValueError(f"{name}: expected one of {', '.join(get_args(literal))}, got {getattr(self, name)!r}")
        for name in ("n_step", "buffer_size", "batch_size", "gradient_steps", "target_every", "window_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("learning_starts", "epsilon_steps", "burn_in_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0 steps, got {getattr(self, name)}")
        fractions = ("gamma", "priority_exponent", "importance_exponent", "tau", "epsilon_start", "epsilon_final")
        for name in fractions:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: expected a number in 0..1, got {getattr(self, name)}")
        if self.huber_delta <= 0:
            raise ValueError(f"huber_delta: expected a number above 0, got {self.huber_delta}")

    def shortened(self, share: float) -> DQNConfig:
        """Give settings with a share of the optimiser steps in an update, and some in the first one, to measure how long it takes."""
        return replace(self, gradient_steps=max(1, round(share * self.gradient_steps)), learning_starts=0)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Trainer:
        """Make the trainer."""
        # By its name, since its file imports this one.
        trainer: Trainer = import_module("seqrl.trainers.dqn").DQN(policy, self, seed=seed, num_updates=num_updates)
        return trainer
