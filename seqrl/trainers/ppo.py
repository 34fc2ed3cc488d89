"""Proximal policy optimisation (Schulman et al. 2017): several epochs on the same rows, kept close to the sampling policy."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from seqrl import advantages, losses, returns, shaping
from seqrl.diagnostics import Seen, average_of, describe_advantage, describe_rollout, describe_update, explained_variance
from seqrl.minibatches import Minibatches, MinibatchUnit, agreed_number
from seqrl.mixing import MixConfig, collect_mixed, imitation_loss
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.protocols import Task, demonstrations_of, require_critic, require_probabilities
from seqrl.reduce import masked_mean
from seqrl.small_ppo import is_small, ppo_gradients
from seqrl.trajectory import Evaluation, Trajectory

Advantage = Literal["gae", "leave_one_out", "group_norm", "greedy"]
Span = Literal["minibatch", "batch"]
Course = Literal["constant", "linear"]
CHOICES: dict[str, tuple[str, ...]] = {
    "advantage": get_args(Advantage),
    "minibatch_unit": get_args(MinibatchUnit),
    "clip_schedule": get_args(Course),
    "entropy_schedule": get_args(Course),
    "normalise_over": get_args(Span),
}


@dataclass
class PPOConfig:
    """Settings of PPO.

    Attributes:
        advantage: "gae" with a critic (Schulman et al. 2016), or a critic-free one: "leave_one_out", "group_norm" (GRPO, Shao
            et al. 2024), "greedy".
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
        normalise_advantage: scale the advantages to mean 0 and deviation 1.
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
    normalise_advantage: bool = True
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
        if not 0 < self.clip <= 1:
            raise ValueError(f"clip: expected a number above 0 and up to 1, got {self.clip}")
        if self.value_clip and self.value_huber:
            raise ValueError(f"value_clip, value_huber: expected one of them at most, got {self.value_clip} and {self.value_huber}")
        if self.recompute_advantage and self.advantage != "gae":
            raise ValueError(f'recompute_advantage: needs a critic, advantage "gae"; got {self.advantage!r}')

    def shortened(self, share: float) -> PPOConfig:
        """Give settings for a share of the rows or steps, with minibatches of the same size, to measure how long an update takes."""
        return replace(self, minibatches=max(1, round(share * self.minibatches)))

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> PPO:
        """Make the trainer."""
        return PPO(policy, self, seed=seed, num_updates=num_updates)


class PPO:
    """Maximises E[min(rho A, clip(rho, 1 - clip, 1 + clip) A)] with rho = pi(a|s) / pi_sampling(a|s).

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), eq. 7; the penalty to a reference
    policy: Ziegler et al. 2019 (Fine-tuning language models from human preferences).

    Args:
        policy: trained in place.
        config: see `PPOConfig`.
        seed: of the sampling and of the minibatches.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no probabilities to learn, or the advantage is "gae" and it has no critic.
    """

    def __init__(self, policy: nn.Module, config: PPOConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "ppo")
        self.policy = policy
        self.config = config or PPOConfig()
        if self.config.advantage == "gae":
            require_critic(policy, "ppo with advantage gae")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
        plain = self.config.advantage == "gae" and not (self.config.value_clip or self.config.value_huber)
        self._small = plain and is_small(policy) and self.optimiser.takes_gradients
        # Only now have all processes the same weights.
        self.reference = copy.deepcopy(policy).requires_grad_(False).eval() if self.config.kl_weight else None
        self.generator = self.optimiser.make_generator(seed)

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where the mix asks for them."""
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
        trajectory, penalty_stats = self._penalised(trajectory)
        advantage, target = self._advantage(trajectory)
        stats |= penalty_stats | describe_advantage(advantage, trajectory.mask)
        if self.config.advantage == "gae":
            stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, trajectory.mask)
        history, seen = self._epochs(trajectory, advantage, target)
        stats |= average_of(history) | describe_update(seen, self.clip)
        self.optimiser.finish_update()
        return stats | {"policy/optimiser_steps": float(len(history))}

    @property
    def clip(self) -> float:
        """How far the probability ratio may be from 1 in the present update."""
        return self._scheduled(self.config.clip, self.config.clip_schedule)

    def _scheduled(self, first: float, course: Course) -> float:
        return first * max(0.0, 1 - self.optimiser.num_finished / self.optimiser.num_updates) if course == "linear" else first

    def _epochs(self, trajectory: Trajectory, advantage: Tensor, target: Tensor) -> tuple[list[dict[str, Tensor | float]], list[Seen]]:
        """Take the optimiser steps; give the figures of each, and what it saw of the policy."""
        config = self.config
        number = agreed_number(trajectory, config.minibatches, config.minibatch_unit, self.optimiser.least)
        minibatches = Minibatches(trajectory, number, config.minibatch_unit, self.generator)
        # A single minibatch is the batch.
        by_batch = config.normalise_advantage and (config.normalise_over == "batch" or minibatches.number == 1)
        history: list[dict[str, Tensor | float]] = []
        seen: list[Seen] = []
        parts: list[tuple[Trajectory, Tensor, Tensor]] = []
        for epoch in range(config.epochs):
            if epoch and config.recompute_advantage:
                advantage, target = self._advantage(self._revalued(trajectory))
            if not epoch or config.recompute_advantage:
                scaled = self.optimiser.whiten(advantage, trajectory.mask) if by_batch else advantage
            if len(parts) != 1 or config.recompute_advantage:
                parts = list(minibatches.epoch(scaled, target))
            for part in parts:
                figures, seen_now = self._improve(
                    *part, all_chosen=minibatches.all_chosen, normalise=config.normalise_advantage and not by_batch
                )
                history.append(figures)
                seen += seen_now
                if config.target_kl and self._mean_kl(seen_now) > config.target_kl:
                    return history, seen
        return history, seen

    def _improve(
        self, trajectory: Trajectory, advantage: Tensor, target: Tensor, *, all_chosen: bool, normalise: bool
    ) -> tuple[dict[str, Tensor | float], list[Seen]]:
        """Take one optimiser step on a minibatch."""
        config, mask, clip = self.config, trajectory.mask, self.clip
        if normalise:
            advantage = self.optimiser.whiten(advantage, mask)
        imitation_weight = config.mix.weight_at(self.optimiser.num_finished)
        entropy_weight = self._scheduled(config.entropy_weight, config.entropy_schedule)
        count = self.optimiser.count(mask, all_true=all_chosen)
        # The condition is the same in all processes, though one may have no demonstrations.
        imitated = mask if trajectory.imitate is None else trajectory.imitate
        imitation_count = self.optimiser.count(imitated) if imitation_weight else count
        if self._small and all_chosen and not imitation_weight and isinstance(trajectory.obs, Tensor):
            weights = {"value_weight": config.value_weight, "entropy_weight": entropy_weight}
            backward = partial(ppo_gradients, self.policy, trajectory, advantage, target, clip=clip, count=count, **weights)
            figures, what = self.optimiser.step_on(backward)
            return figures, [what]
        seen: list[Seen] = []

        def loss_terms(rows: slice, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            seen.append(Seen.of(part, evaluation))
            chosen = None if all_chosen else part.mask
            # Where the policy did not choose, an old log-probability means nothing and its ratio could overflow.
            old_logp = part.logp if chosen is None else torch.where(chosen, part.logp, evaluation.logp.detach())
            objective = losses.ppo_clip(evaluation.logp, old_logp, advantage[rows], clip, clip)
            terms = {"loss/policy": masked_mean(objective, chosen, count)}
            if entropy_weight:
                terms["loss/entropy"] = -entropy_weight * masked_mean(evaluation.entropy, chosen, count)
            if config.advantage == "gae":
                error = self._value_error(evaluation.value, target[rows], part.value[:, :-1])
                terms["loss/value"] = config.value_weight * masked_mean(error, chosen, count)
            if imitation_weight:
                terms["loss/cross_entropy"] = imitation_weight * imitation_loss(part, evaluation, imitation_count)
            return terms

        return self.optimiser.step(trajectory, loss_terms), seen

    def _value_error(self, value: Tensor, target: Tensor, old_value: Tensor) -> Tensor:
        if self.config.value_huber:
            return losses.td(value, target, self.config.value_huber)
        return losses.value(value, target, old_value, self.config.value_clip or None)

    def _mean_kl(self, seen: list[Seen]) -> float:
        """KL(sampling || current) of a minibatch, averaged over the processes, so that all of them stop together."""
        divergence = describe_update(seen).get("policy/kl_sampling", 0.0)
        return float(self.optimiser.mean(torch.tensor(divergence, device=self.optimiser.device)))

    @torch.no_grad()
    def _revalued(self, trajectory: Trajectory) -> Trajectory:
        """Estimate the values anew, except for that after the last step."""
        return trajectory.replace(value=torch.cat([self.policy(trajectory).value, trajectory.value[:, -1:]], dim=1))

    @torch.no_grad()
    def _penalised(self, trajectory: Trajectory) -> tuple[Trajectory, dict[str, float]]:
        """Take the KL penalty to the reference policy off the rewards."""
        if self.reference is None:
            return trajectory, {}
        reference_logp = self.reference(trajectory).logp
        divergence = losses.kl(trajectory.logp, reference_logp, "k1")
        reward = shaping.kl_penalty(trajectory.reward, trajectory.logp, reference_logp, trajectory.mask, self.config.kl_weight)
        return trajectory.replace(reward=reward), {"policy/kl_reference": float(masked_mean(divergence, trajectory.mask))}

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the advantages and the critic's targets, [B, T] each."""
        if self.config.advantage == "gae":
            advantage = returns.gae(
                trajectory.reward,
                trajectory.value,
                trajectory.terminated,
                trajectory.truncated,
                self.config.discount,
                self.config.trace_decay,
            )
            return advantage, advantage + trajectory.value[:, :-1]
        score, valid = trajectory.score, trajectory.mask.any(dim=1)
        if self.config.advantage == "leave_one_out":
            row = advantages.leave_one_out(score, trajectory.group, valid)
        elif self.config.advantage == "group_norm":
            row = advantages.group_norm(score, trajectory.group, valid)
        else:
            row = advantages.greedy(score, trajectory.baseline)
        return row.unsqueeze(1).expand_as(trajectory.reward), torch.zeros_like(trajectory.reward)

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
