"""Proximal policy optimisation (Schulman et al. 2017): several epochs on the same rows, kept close to the sampling policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from seqrl import advantages, losses, returns, shaping
from seqrl.diagnostics import average_of, describe_advantage, describe_rollout, explained_variance
from seqrl.mixing import MixConfig, collect_mixed, imitation_loss
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.protocols import Task
from seqrl.reduce import masked_mean
from seqrl.trajectory import Evaluation, Trajectory

Advantage = Literal["gae", "leave_one_out", "group_norm", "greedy"]
MinibatchUnit = Literal["rows", "steps"]


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
        value_clip: the critic's change is clipped to this distance; 0 switches it off.
        target_kl: take no more optimiser steps in an update once a minibatch's KL(sampling || current), measured before its
            own step, exceeds this, nats a step; 0 switches it off.
        kl_weight: weight of the per-step penalty for leaving the reference policy, a frozen copy of the first one.
        normalise_advantage: scale the advantages of each minibatch to mean 0 and deviation 1.
        entropy_weight: weight of the entropy bonus.
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
    value_clip: float = 0.0
    target_kl: float = 0.0
    kl_weight: float = 0.0
    normalise_advantage: bool = True
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    dropout: bool = False
    mix: MixConfig = field(default_factory=MixConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        for name in ("num_samples", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.advantage not in get_args(Advantage):
            raise ValueError(f"advantage: expected one of {', '.join(get_args(Advantage))}, got {self.advantage!r}")
        if self.minibatch_unit not in get_args(MinibatchUnit):
            raise ValueError(f"minibatch_unit: expected one of {', '.join(get_args(MinibatchUnit))}, got {self.minibatch_unit!r}")
        if self.clip <= 0:
            raise ValueError(f"clip: expected a positive number, got {self.clip}")

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
    """

    def __init__(self, policy: nn.Module, config: PPOConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or PPOConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
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
        trajectory = collect_mixed(self.config.mix, self.optimiser.num_finished, rollout, task.demonstrations)
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
        history: list[dict[str, float]] = []
        stop = False
        for _ in range(self.config.epochs):
            for part, part_advantage, part_target in self._minibatches(trajectory, advantage, target):
                numbers = self._improve(part, part_advantage, part_target)
                history.append(numbers)
                stop = bool(self.config.target_kl) and self._mean_kl(numbers) > self.config.target_kl
                if stop:
                    break
            if stop:
                break
        self.optimiser.finish_update()
        return stats | average_of(history) | {"policy/optimiser_steps": float(len(history))}

    def _improve(self, trajectory: Trajectory, advantage: Tensor, target: Tensor) -> dict[str, float]:
        """Take one optimiser step on a minibatch."""
        config, mask = self.config, trajectory.mask
        if config.normalise_advantage:
            advantage = self.optimiser.whiten(advantage, mask)
        imitation_weight = config.mix.weight_at(self.optimiser.num_finished)
        count, num_chosen = self.optimiser.count(mask), mask.sum()
        imitation_count = self.optimiser.count(mask if trajectory.imitate is None else trajectory.imitate)
        clipped = 0.0

        def loss_terms(rows: slice, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            nonlocal clipped
            # Where the policy did not choose, an old log-probability means nothing and its ratio could overflow.
            old_logp = torch.where(part.mask, part.logp, evaluation.logp.detach())
            objective = losses.ppo_clip(evaluation.logp, old_logp, advantage[rows], config.clip, config.clip)
            terms = {"loss/policy": masked_mean(objective, part.mask, count)}
            outside = ((evaluation.logp.detach() - old_logp).exp() - 1).abs() > config.clip
            clipped += float(masked_mean(outside.float(), part.mask, num_chosen))
            if config.entropy_weight:
                terms["loss/entropy"] = -config.entropy_weight * masked_mean(evaluation.entropy, part.mask, count)
            if config.advantage == "gae":
                error = losses.value(evaluation.value, target[rows], part.value[:, :-1], config.value_clip or None)
                terms["loss/value"] = config.value_weight * masked_mean(error, part.mask, count)
            if imitation_weight:
                terms["loss/cross_entropy"] = imitation_weight * imitation_loss(part, evaluation, imitation_count)
            return terms

        stats = self.optimiser.minimise(trajectory, loss_terms)
        return stats | {"policy/clip_fraction": clipped}

    def _minibatches(self, trajectory: Trajectory, advantage: Tensor, target: Tensor) -> Iterator[tuple[Trajectory, Tensor, Tensor]]:
        """Shuffle rows, or the steps that count, into minibatches."""
        if self.config.minibatch_unit == "rows":
            for rows in self._shuffle(trajectory.batch_size):
                yield trajectory.select_rows(rows), advantage[rows], target[rows]
            return
        rows, steps = trajectory.counted.nonzero(as_tuple=True)
        for chosen in self._shuffle(rows.shape[0]):
            row, step = rows[chosen], steps[chosen]
            yield trajectory.select_steps(row, step), advantage[row, step].unsqueeze(1), target[row, step].unsqueeze(1)

    def _shuffle(self, number: int) -> Sequence[Tensor]:
        """Put 0 .. number - 1 in a random order and cut it into equal parts."""
        order = torch.randperm(number, generator=self.generator, device=self.optimiser.device)
        return order.tensor_split(min(number, self.config.minibatches))

    def _mean_kl(self, numbers: dict[str, float]) -> float:
        """KL(sampling || current) of a minibatch, averaged over the processes, so that all of them stop together."""
        return float(self.optimiser.mean(torch.tensor(numbers.get("policy/kl_sampling", 0.0), device=self.optimiser.device)))

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
