"""The settings of PPO, GRPO and Dr. GRPO."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Literal

from torch import nn

from seqrl.functional import losses
from seqrl.functional.reductions import AverageOver
from seqrl.optimiser import OptimiserConfig
from seqrl.protocols import Trainer
from seqrl.settings import Count, Fraction, NotNegative, PositiveFraction, check_settings
from seqrl.trainers.bonus import BonusConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.minibatches import MinibatchUnit
from seqrl.trainers.reference import KLIn

Schedule = Literal["constant", "linear"]


@dataclass
class PPOConfig:
    """Settings of PPO.

    GRPO (Shao et al. 2024) is advantage: group_norm, average_over: row_means, kl_in: loss, kl_estimator: k3. Dr. GRPO (Liu et al.
    2025) is advantage: group_mean, average_over: rows, kl_coef: 0; it divides by a constant where we do not.

    Attributes:
        advantage: "gae" with a critic (Schulman et al. 2016), or a critic-free one of whole rows: "leave_one_out", "group_norm" (GRPO's),
            "group_mean" (Dr. GRPO's), "greedy".
        num_samples: rows sampled for each context.
        gamma: discount γ, per step; without effect unless `advantage` is "gae".
        gae_lambda: lambda of generalised advantage estimation.
        epochs: passes over the rows in each update.
        minibatches: parts of a pass, one optimiser step each; never more than there are rows (or steps) to share out.
        minibatch_unit: what is shuffled into minibatches: "rows", or "steps" for policies without memory.
        clip_range: epsilon; the probability ratio is clipped to [1 - clip_range, 1 + clip_range].
        clip_range_schedule: "constant", or "linear" down to 0 at the end of the run.
        clip_range_vf: the critic's change is clipped to this distance; 0 switches it off, as Andrychowicz et al. (2021) advise.
        value_huber: errors of the critic beyond this count linearly (Huber loss); 0 switches it off. Not with clip_range_vf.
        target_kl: take no more optimiser steps in an update once a minibatch's KL(sampling || current), measured before its
            own step, exceeds this, nats a step; 0 switches it off.
        kl_coef: weight of the per-step penalty for leaving the reference policy, a frozen copy of the first one.
        kl_in: where the penalty stands: taken off the "reward" of each step, or a term of the "loss".
        kl_estimator: "k1", "k2" or "k3", see `seqrl.functional.losses.kl`; as a loss, k1 teaches nothing.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum) or "row_means"; see `reductions.masked_mean`.
        normalise_advantage: scale the advantages to mean 0 and deviation 1; null does so with "gae" only, since those of whole rows are
            compared already, and scaling over steps counts long rows more.
        normalise_over: those of each "minibatch", or those of the whole "batch" once.
        recompute_advantage: estimate the advantages anew before each epoch but the first, with the critic as it has become
            (Andrychowicz et al. 2021, section 3.5); the value after the last step stays. Costs one evaluation of the rows.
        ent_coef: weight of the entropy bonus.
        ent_coef_schedule: "constant", or "linear" down to 0 at the end of the run.
        vf_coef: weight of the critic's squared error; without effect unless `advantage` is "gae".
        dropout: keep dropout on in the update; sampling never has it.
        bonus: added to rewards for what is new, see `BonusConfig`.
        imitation: cross-entropy beside the policy gradient, see `ImitationConfig`.
        optimiser: see `OptimiserConfig`.
    """

    advantage: Literal["gae", "leave_one_out", "group_norm", "group_mean", "greedy"] = "gae"
    num_samples: Count = 1
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    epochs: Count = 4
    minibatches: Count = 4
    minibatch_unit: MinibatchUnit = "rows"
    clip_range: PositiveFraction = 0.2
    clip_range_schedule: Schedule = "constant"
    clip_range_vf: NotNegative[float] = 0.0
    value_huber: NotNegative[float] = 0.0
    target_kl: NotNegative[float] = 0.0
    kl_coef: NotNegative[float] = 0.0
    kl_in: KLIn = "reward"
    kl_estimator: losses.KLEstimator = "k1"
    average_over: AverageOver = "steps"
    normalise_advantage: bool | None = None
    normalise_over: Literal["minibatch", "batch"] = "minibatch"
    recompute_advantage: bool = False
    ent_coef: float = 0.0
    ent_coef_schedule: Schedule = "constant"
    vf_coef: float = 0.5
    dropout: bool = False
    bonus: BonusConfig = field(default_factory=BonusConfig)
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(epsilon=1e-5, max_grad_norm=0.5))

    def __post_init__(self) -> None:
        check_settings(self)
        if self.average_over != "steps" and self.minibatch_unit == "steps":
            raise ValueError(f"average_over: expected steps with minibatch_unit steps, got {self.average_over!r}; set minibatch_unit=rows")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("kl_estimator: expected k2 or k3 with kl_in loss, since the gradient of k1 is 0 on average, got 'k1'")
        if self.clip_range_vf and self.value_huber:
            raise ValueError(f"clip_range_vf, value_huber: expected one of them at most, got {self.clip_range_vf} and {self.value_huber}")
        if self.bonus.type != "none" and self.advantage == "greedy":
            raise ValueError(
                'advantage: expected another than "greedy" beside a bonus, which the greedy row that it compares with is not paid'
            )
        if self.recompute_advantage and self.advantage != "gae":
            raise ValueError(f'recompute_advantage: needs a critic, advantage "gae"; got {self.advantage!r}')

    @property
    def normalises(self) -> bool:
        """Whether advantages are scaled."""
        return self.advantage == "gae" if self.normalise_advantage is None else self.normalise_advantage

    def shortened(self, share: float) -> PPOConfig:
        """Give settings for a share of the rows or steps, with minibatches of the same size, to measure how long an update takes."""
        return replace(self, minibatches=max(1, round(share * self.minibatches)))

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Trainer:
        """Make the trainer."""
        # By its name, since its file imports this one.
        trainer: Trainer = import_module("seqrl.trainers.ppo").PPO(policy, self, seed=seed, num_updates=num_updates)
        return trainer
