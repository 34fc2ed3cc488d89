"""The settings of deep Q-learning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Literal

from torch import nn

from seqrl.optimiser import OptimiserConfig
from seqrl.protocols import Trainer
from seqrl.settings import Count, Fraction, NotNegative, Positive, check_settings
from seqrl.trainers.bonus import BonusConfig


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
        bonus: added to rewards for what is new, see `BonusConfig`.
        optimiser: see `OptimiserConfig`.
    """

    gamma: Fraction = 0.99
    n_step: Count = 1
    double: bool = False
    replay: Literal["uniform", "prioritised", "none"] = "uniform"
    buffer_size: Count = 50_000
    priority_exponent: Fraction = 0.6
    importance_exponent: Fraction = 0.4
    learning_starts: NotNegative[int] = 1_000
    batch_size: Count = 64
    gradient_steps: Count = 32
    target_network: Literal["hard", "moving_average", "none"] = "hard"
    target_every: Count = 250
    tau: Fraction = 0.005
    loss: Literal["huber", "mse"] = "huber"
    huber_delta: Positive = 1.0
    epsilon_start: Fraction = 1.0
    epsilon_final: Fraction = 0.05
    epsilon_steps: NotNegative[int] = 10_000
    window_steps: Count = 16
    burn_in_steps: NotNegative[int] = 0
    first_state: Literal["empty", "stored"] = "empty"
    bonus: BonusConfig = field(default_factory=BonusConfig)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(max_grad_norm=10.0))

    def __post_init__(self) -> None:
        check_settings(self)

    def shortened(self, share: float) -> DQNConfig:
        """Give settings with a share of the optimiser steps in an update, and some in the first one, to measure how long it takes."""
        return replace(self, gradient_steps=max(1, round(share * self.gradient_steps)), learning_starts=0)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Trainer:
        """Make the trainer."""
        # By its name, since its file imports this one.
        trainer: Trainer = import_module("seqrl.trainers.dqn").DQN(policy, self, seed=seed, num_updates=num_updates)
        return trainer
