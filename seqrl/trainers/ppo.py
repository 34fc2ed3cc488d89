"""Proximal policy optimisation (Schulman et al. 2017): several epochs on the same rows, kept close to the sampling policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from seqrl.diagnostics import Seen, average_of, describe_advantage, describe_rollout, describe_update, explained_variance
from seqrl.functional import losses
from seqrl.functional.reductions import AverageOver, masked_mean
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig
from seqrl.protocols import Task
from seqrl.requirements import demonstrations_of, require_critic, require_probabilities, require_whole_rows
from seqrl.sharding import whole
from seqrl.trainers.fused_ppo import is_small, ppo_gradients
from seqrl.trainers.minibatches import Minibatches, MinibatchUnit, Part, agreed_number
from seqrl.trainers.mixing import MixConfig, collect_mixed, imitated, imitation_loss
from seqrl.trainers.ppo_advantages import Advantage, estimate, revalued
from seqrl.trainers.reference import KLIn, Reference
from seqrl.trajectory import Evaluation, Trajectory

Span = Literal["minibatch", "batch"]
Course = Literal["constant", "linear"]
CHOICES: dict[str, tuple[str, ...]] = {
    "advantage": get_args(Advantage),
    "minibatch_unit": get_args(MinibatchUnit),
    "clip_schedule": get_args(Course),
    "entropy_schedule": get_args(Course),
    "normalise_over": get_args(Span),
    "average_over": get_args(AverageOver),
    "kl_in": get_args(KLIn),
    "kl_estimator": get_args(losses.KLEstimator),
}


@dataclass
class PPOConfig:
    """Settings of PPO.

    GRPO (Shao et al. 2024) is advantage: group_norm, average_over: row_means, kl_in: loss, kl_estimator: k3. Dr. GRPO (Liu et al.
    2025) is advantage: group_mean, average_over: rows, kl_weight: 0; it divides by a constant where we do not.

    Attributes:
        advantage: "gae" with a critic (Schulman et al. 2016), or a critic-free one of whole rows: "leave_one_out", "group_norm" (GRPO's),
            "group_mean" (Dr. GRPO's), "greedy".
        num_samples: rows sampled for each context.
        discount: gamma, per step; without effect unless `advantage` is "gae".
        trace_decay: lambda of generalised advantage estimation.
        epochs: passes over the rows in each update.
        minibatches: parts of a pass, one optimiser step each; never more than there are rows (or steps) to share out.
        minibatch_unit: what is shuffled into minibatches: "rows", or "steps" for policies without memory.
        clip: the probability ratio is clipped to [1 - clip, 1 + clip].
        clip_schedule: "constant", or "linear" down to 0 at the end of the run.
        value_clip: the critic's change is clipped to this distance; 0 switches it off, as Andrychowicz et al. (2021) advise.
        value_huber: errors of the critic beyond this count linearly (Huber loss); 0 switches it off. Not with value_clip.
        target_kl: take no more optimiser steps in an update once a minibatch's KL(sampling || current), measured before its
            own step, exceeds this, nats a step; 0 switches it off.
        kl_weight: weight of the per-step penalty for leaving the reference policy, a frozen copy of the first one.
        kl_in: where the penalty stands: taken off the "reward" of each step, or a term of the "loss".
        kl_estimator: "k1", "k2" or "k3", see `seqrl.functional.losses.kl`; as a loss, k1 teaches nothing.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum) or "row_means"; see `reductions.masked_mean`.
        normalise_advantage: scale the advantages to mean 0 and deviation 1; null does so with "gae" only, since those of whole rows are
            compared already, and scaling over steps counts long rows more.
        normalise_over: those of each "minibatch", or those of the whole "batch" once.
        recompute_advantage: estimate the advantages anew before each epoch but the first, with the critic as it has become
            (Andrychowicz et al. 2021, section 3.5); the value after the last step stays. Costs one evaluation of the rows.
        entropy_weight: weight of the entropy bonus.
        entropy_schedule: "constant", or "linear" down to 0 at the end of the run.
        value_weight: weight of the critic's squared error; without effect unless `advantage` is "gae".
        dropout: keep dropout on in the update; sampling never has it.
        mix: cross-entropy beside the policy gradient, see `MixConfig`.
        optimiser: see `OptimiserConfig`.
    """

    advantage: Advantage = "gae"
    num_samples: int = 1
    discount: float = 0.99
    trace_decay: float = 0.95
    epochs: int = 4
    minibatches: int = 4
    minibatch_unit: MinibatchUnit = "rows"
    clip: float = 0.2
    clip_schedule: Course = "constant"
    value_clip: float = 0.0
    value_huber: float = 0.0
    target_kl: float = 0.0
    kl_weight: float = 0.0
    kl_in: KLIn = "reward"
    kl_estimator: losses.KLEstimator = "k1"
    average_over: AverageOver = "steps"
    normalise_advantage: bool | None = None
    normalise_over: Span = "minibatch"
    recompute_advantage: bool = False
    entropy_weight: float = 0.0
    entropy_schedule: Course = "constant"
    value_weight: float = 0.5
    dropout: bool = False
    mix: MixConfig = field(default_factory=MixConfig)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(epsilon=1e-5, max_grad_norm=0.5))

    def __post_init__(self) -> None:
        for name in ("num_samples", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("discount", "trace_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)}")
        for name in ("value_clip", "value_huber", "target_kl", "kl_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected a positive number, or 0 to switch it off, got {getattr(self, name)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.average_over != "steps" and self.minibatch_unit == "steps":
            raise ValueError(f"average_over: expected steps with minibatch_unit steps, got {self.average_over!r}; set minibatch_unit=rows")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("kl_estimator: expected k2 or k3 with kl_in loss, since the gradient of k1 is 0 on average, got 'k1'")
        if not 0 < self.clip <= 1:
            raise ValueError(f"clip: expected a number above 0 and up to 1, got {self.clip}")
        if self.value_clip and self.value_huber:
            raise ValueError(f"value_clip, value_huber: expected one of them at most, got {self.value_clip} and {self.value_huber}")
        if self.recompute_advantage and self.advantage != "gae":
            raise ValueError(f'recompute_advantage: needs a critic, advantage "gae"; got {self.advantage!r}')

    @property
    def normalises(self) -> bool:
        """Whether advantages are scaled."""
        return self.advantage == "gae" if self.normalise_advantage is None else self.normalise_advantage

    @property
    def is_plain(self) -> bool:
        """Whether the loss is one whose derivative `seqrl.trainers.fused_ppo` has written out, but for cross-entropy."""
        changed = self.value_clip or self.value_huber or (self.kl_weight and self.kl_in == "loss")
        return self.advantage == "gae" and self.average_over != "row_means" and not changed

    def shortened(self, share: float) -> PPOConfig:
        """Give settings for a share of the rows or steps, with minibatches of the same size, to measure how long an update takes."""
        return replace(self, minibatches=max(1, round(share * self.minibatches)))

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> PPO:
        """Make the trainer."""
        return PPO(policy, self, seed=seed, num_updates=num_updates)


class PPO:
    """Maximises E[min(rho A, clip(rho, 1 - clip, 1 + clip) A)] with rho = pi(a|s) / pi_sampling(a|s).

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), eq. 7; the penalty to a reference
    policy: Ziegler et al. 2019 (Fine-tuning language models from human preferences), in the loss: Shao et al. 2024 (DeepSeekMath), GRPO.

    Args:
        policy: trained in place.
        config: see `PPOConfig`.
        seed: of the sampling and of the minibatches.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no probabilities to learn, or the advantage is "gae" and it has no critic.
    """

    weighs_older_rows = True
    can_be_sharded = True
    can_split_batches = True

    def __init__(self, policy: nn.Module, config: PPOConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "ppo")
        self.policy = policy
        self.config = config or PPOConfig()
        if self.config.advantage == "gae":
            require_critic(policy, "ppo with advantage gae")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
        self._small = self.config.is_plain and is_small(policy) and self.optimiser.takes_gradients
        # Only now have all processes the same weights.
        kl_weight = self.config.kl_weight
        self.reference = Reference(policy, self.config.kl_in, self.config.kl_estimator, kl_weight) if kl_weight else None
        self.generator = self.optimiser.make_generator(seed)

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps where whole episodes are compared, and a mix where there is nothing to imitate."""
        if self.config.advantage != "gae":
            require_whole_rows(task, f"ppo with advantage {self.config.advantage}")
        self.config.mix.check_task(task)

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where the mix asks for them."""
        self.check_task(task)
        rollout = partial(
            task.rollout,
            self.policy,
            num_samples=self.config.num_samples,
            greedy_baseline=self.config.advantage == "greedy",
            generator=self.generator,
        )
        self.policy.eval()
        trajectory = collect_mixed(self.config.mix, self.optimiser.num_finished, rollout, demonstrations_of(task))
        return trajectory.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take up to epochs x minibatches optimiser steps on the clipped objective."""
        stats = describe_rollout(trajectory)
        self.policy.train(self.config.dropout)
        trajectory, reference_logp, penalty_stats = self.reference.penalise(trajectory) if self.reference else (trajectory, (), {})
        advantage, target = self._advantage(trajectory)
        stats |= penalty_stats | describe_advantage(advantage, trajectory.mask)
        if self.config.advantage == "gae":
            stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, trajectory.mask)
        history, seen = self._epochs(trajectory, advantage, target, *reference_logp)
        stats |= average_of(history) | describe_update(seen, self.clip)
        self.optimiser.finish_update()
        return stats | {"policy/optimiser_steps": float(len(history))}

    @property
    def clip(self) -> float:
        """How far the probability ratio may be from 1 in the present update."""
        return self._scheduled(self.config.clip, self.config.clip_schedule)

    def _scheduled(self, first: float, course: Course) -> float:
        return first * max(0.0, 1 - self.optimiser.num_finished / self.optimiser.num_updates) if course == "linear" else first

    def _epochs(
        self, trajectory: Trajectory, advantage: Tensor, target: Tensor, *reference_logp: Tensor
    ) -> tuple[list[dict[str, Tensor | float]], list[Seen]]:
        """Take the optimiser steps; give the figures of each, and what it saw of the policy."""
        config = self.config
        number = agreed_number(trajectory, config.minibatches, config.minibatch_unit, self.optimiser.least)
        minibatches = Minibatches(trajectory, number, config.minibatch_unit, self.generator)
        # A single minibatch is the batch.
        by_batch = config.normalises and (config.normalise_over == "batch" or minibatches.number == 1)
        by_part = config.normalises and not by_batch
        history: list[dict[str, Tensor | float]] = []
        seen: list[Seen] = []
        parts: list[Part] = []
        aux_total = minibatches.aux_total(self.policy)
        for epoch in range(config.epochs):
            if epoch and config.recompute_advantage:
                with whole(self.policy):
                    advantage, target = self._advantage(revalued(trajectory, self.policy))
            if not epoch or config.recompute_advantage:
                scaled = self.optimiser.whiten(advantage, trajectory.mask) if by_batch else advantage
            if len(parts) != 1 or config.recompute_advantage:
                parts = list(minibatches.epoch(scaled, target, *reference_logp))
            for part in parts:
                figures, seen_now = self._improve(part, all_chosen=minibatches.all_chosen, normalise=by_part, aux_total=aux_total)
                history.append(figures)
                seen += seen_now
                if config.target_kl and self._mean_kl(seen_now) > config.target_kl:
                    return history, seen
        return history, seen

    def _improve(
        self, minibatch: Part, *, all_chosen: bool, normalise: bool, aux_total: Tensor | None
    ) -> tuple[dict[str, Tensor | float], list[Seen]]:
        """Take one optimiser step on a minibatch; give its figures, and what it saw of the policy unless it was skipped."""
        trajectory, advantage, target, *reference_logp = minibatch
        config, mask, clip = self.config, trajectory.mask, self.clip
        if normalise:
            advantage = self.optimiser.whiten(advantage, mask)
        imitation_weight = config.mix.weight_at(self.optimiser.num_finished)
        entropy_weight = self._scheduled(config.entropy_weight, config.entropy_schedule)
        count = self.optimiser.count(mask, all_true=all_chosen, over=config.average_over)
        average = partial(masked_mean, count=count, over=config.average_over)
        # The condition is the same in all processes, though one may have no demonstrations.
        imitation_count = self.optimiser.count(imitated(trajectory), over=config.average_over) if imitation_weight else 1.0
        if self._small and all_chosen and not imitation_weight and isinstance(trajectory.obs, Tensor):
            weights = {"value_weight": config.value_weight, "entropy_weight": entropy_weight}
            backward = partial(ppo_gradients, self.policy, trajectory, advantage, target, clip=clip, count=count, **weights)
            figures, what = self.optimiser.step_on(backward)
            return figures, [] if figures[SKIPPED] else [what]
        seen: list[Seen] = []

        def loss_terms(rows: slice, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            seen.append(Seen.of(part, evaluation))
            chosen = None if all_chosen else part.mask
            # Where the policy did not choose, log-probabilities mean nothing: their ratio could overflow, or be -inf minus -inf.
            logp, old_logp = (x if chosen is None else torch.where(chosen, x, 0.0) for x in (evaluation.logp, part.logp))
            objective = losses.ppo_clip(logp, old_logp, advantage[rows], clip, clip)
            terms = {"loss/policy": average(objective, chosen)}
            if entropy_weight:
                terms["loss/entropy"] = -entropy_weight * average(evaluation.entropy, chosen)
            if config.advantage == "gae":
                if config.value_huber:
                    error = losses.td(evaluation.value, target[rows], config.value_huber)
                else:
                    error = losses.value(evaluation.value, target[rows], part.value[:, :-1], config.value_clip or None)
                terms["loss/value"] = config.value_weight * average(error, chosen)
            if self.reference is not None and reference_logp:
                terms["loss/kl"] = average(self.reference.loss(evaluation.logp, reference_logp[0][rows], chosen), chosen)
            if imitation_weight:
                demonstrated = imitation_loss(part, evaluation, imitation_count, over=config.average_over)
                terms["loss/cross_entropy"] = imitation_weight * demonstrated
            return terms

        figures = self.optimiser.step(trajectory, loss_terms, aux_total=aux_total)
        return figures, [] if figures[SKIPPED] else seen

    def _mean_kl(self, seen: list[Seen]) -> float:
        """KL(sampling || current) of a minibatch, averaged over the processes, so that all of them stop together."""
        divergence = describe_update(seen).get("policy/kl_sampling", 0.0)
        return float(self.optimiser.mean(torch.tensor(divergence, device=self.optimiser.device)))

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the advantages and the critic's targets, [B, T] each."""
        return estimate(trajectory, self.config.advantage, self.config.discount, self.config.trace_decay)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": self.config.advantage, "samples": self.config.num_samples}

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's, the generator's and the reference policy's state."""
        reference = None if self.reference is None else self.reference.state_dict()
        return {"optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(), "reference": reference}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
