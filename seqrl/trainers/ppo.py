"""Proximal policy optimisation (Schulman et al. 2017): several epochs on the same rows, kept close to the sampling policy."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import PolicyStats, average_of, describe_advantage, describe_rollout, describe_update, explained_variance
from seqrl.functional import losses, returns
from seqrl.functional.row_advantages import row_advantage
from seqrl.optimiser import Optimiser, Stats, Term
from seqrl.protocols import Task
from seqrl.requirements import require_critic, require_probabilities, require_whole_rows
from seqrl.sharding import whole
from seqrl.trainers import fused_ppo
from seqrl.trainers.imitation import collect_rows, imitation_loss
from seqrl.trainers.minibatches import Minibatches
from seqrl.trainers.ppo_config import PPOConfig as PPOConfig
from seqrl.trainers.ppo_config import Schedule
from seqrl.trainers.reference import Reference
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory


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
    saved = ("reference", "bonus")

    def __init__(self, policy: nn.Module, config: PPOConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "ppo")
        self.policy = policy
        self.config = config or PPOConfig()
        if self.config.advantage == "gae":
            require_critic(policy, "ppo with advantage gae")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        # Only now have all processes the same weights.
        kl_coef = self.config.kl_coef
        self.reference = Reference(policy, self.config.kl_in, self.config.kl_estimator, kl_coef) if kl_coef else None
        self.bonus = self.config.bonus.build(policy, seed=seed, num_updates=num_updates, device=self.optimiser.device)
        self.plain_because = fused_ppo.why_not(policy, self.config, self.optimiser, self.loss)

    @property
    def how_it_runs(self) -> str:
        """A line about which way its minibatches take."""
        return f"ppo goes through autograd: {self.plain_because}" if self.plain_because else fused_ppo.HOW

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps where whole episodes are compared, and demonstrations where there is nothing to imitate."""
        if self.config.advantage != "gae":
            require_whole_rows(task, f"ppo with advantage {self.config.advantage}")
        self.config.imitation.check_task(task)

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where `imitation` asks for them."""
        return collect_rows(self, task, greedy_baseline=self.config.advantage == "greedy")

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take up to epochs x minibatches optimiser steps on the clipped objective."""
        stats = describe_rollout(trajectory)
        self.policy.train(self.config.dropout)
        trajectory, paid = self.bonus.pay(trajectory) if self.bonus else (trajectory, {})
        trajectory, penalty, penalty_stats = self.reference.penalise(trajectory) if self.reference else (trajectory, {}, {})
        advantage, target = self._advantage(trajectory)
        stats |= paid | penalty_stats | describe_advantage(advantage, trajectory.mask)
        if self.config.advantage == "gae":
            stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, trajectory.mask)
        history, policy_stats = self._epochs(trajectory, {"advantage": advantage, "target": target, **penalty})
        stats |= average_of(history) | describe_update(policy_stats, self.clip_range)
        self.optimiser.finish_update()
        return stats | {"policy/optimiser_steps": float(len(history))}

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the advantages and the critic's targets, [B, T] each; compared as a whole, a row's steps share its advantage."""
        config, value = self.config, trajectory.value
        if config.advantage == "gae":
            ends = (trajectory.terminated, trajectory.truncated)
            advantage = returns.gae(trajectory.reward, value, *ends, config.gamma, config.gae_lambda)
            return advantage, advantage + value[:, :-1]
        instead = "trainer.advantage=gae, with a critic"
        row = row_advantage(config.advantage, trajectory, trajectory.score, setting="advantage", instead=instead)
        return row.unsqueeze(1).expand_as(trajectory.reward), torch.zeros_like(trajectory.reward)

    def loss(
        self, part: Trajectory, evaluation: Evaluation, advantage: Tensor, target: Tensor, reference_logp: Tensor | None = None
    ) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]: -min(rho A, clip(rho) A), the critic's error, and what else is asked for."""
        config, clip = self.config, self.clip_range
        # Where the policy did not choose, log-probabilities mean nothing: their ratio could overflow, or be -inf minus -inf.
        logp, old_logp = (torch.where(part.mask, x, 0.0) for x in (evaluation.logp, part.logp))
        terms: dict[str, Tensor | Term] = {
            "loss/policy": losses.ppo_clip(logp, old_logp, advantage, clip, clip),
            "loss/entropy": Term(evaluation.entropy, -self.ent_coef),
        }
        if config.advantage == "gae":
            if config.value_huber:
                error = losses.td(evaluation.value, target, config.value_huber)
            else:
                error = losses.value(evaluation.value, target, part.value[:, :-1], config.clip_range_vf or None)
            terms["loss/value"] = Term(error, config.vf_coef)
        if self.reference is not None and reference_logp is not None:
            terms["loss/kl"] = self.reference.loss(evaluation.logp, reference_logp, part.mask)
        terms["loss/cross_entropy"] = imitation_loss(evaluation, config.imitation.weight_at(self.optimiser.num_finished))
        return terms

    @property
    def clip_range(self) -> float:
        """How far the probability ratio may be from 1 in the present update."""
        return self._scheduled(self.config.clip_range, self.config.clip_range_schedule)

    @property
    def ent_coef(self) -> float:
        """The weight of the entropy bonus in the present update."""
        return self._scheduled(self.config.ent_coef, self.config.ent_coef_schedule)

    def _scheduled(self, first: float, course: Schedule) -> float:
        return first * max(0.0, 1 - self.optimiser.num_finished / self.optimiser.num_updates) if course == "linear" else first

    def _epochs(self, trajectory: Trajectory, columns: dict[str, Tensor]) -> tuple[list[Stats], list[PolicyStats]]:
        """Take the optimiser steps; give the numbers of each, and what it saw of the policy."""
        config = self.config
        minibatches = Minibatches(trajectory, config.minibatches, config.minibatch_unit, self.optimiser.generator)
        # A single minibatch is the batch.
        by_batch = config.normalises and (config.normalise_over == "batch" or minibatches.number == 1)
        history: list[Stats] = []
        policy_stats: list[PolicyStats] = []
        aux_total = minibatches.aux_total(self.policy)
        for epoch in range(config.epochs):
            if epoch and config.recompute_advantage:
                with whole(self.policy), torch.no_grad():  # all values but that after the last step
                    value = torch.cat([self.policy(trajectory).value, trajectory.value[:, -1:]], dim=1)
                columns["advantage"], columns["target"] = self._advantage(trajectory.replace(value=value))
            if by_batch and (not epoch or config.recompute_advantage):
                columns["advantage"] = distributed.whiten(columns["advantage"], trajectory.mask)
            for part, cut in minibatches.epoch(**columns):
                if config.normalises and not by_batch:
                    cut = {**cut, "advantage": distributed.whiten(cut["advantage"], part.mask)}
                stats, new_stats = self._improve(part, cut, all_chosen=minibatches.all_chosen, aux_total=aux_total)
                history.append(stats)
                policy_stats += new_stats
                if config.target_kl and self._mean_kl(new_stats) > config.target_kl:
                    return history, policy_stats
        return history, policy_stats

    def _improve(
        self, part: Trajectory, columns: dict[str, Tensor], *, all_chosen: bool, aux_total: Tensor | None
    ) -> tuple[Stats, list[PolicyStats]]:
        """Take one optimiser step on a minibatch; give its numbers, and what it saw of the policy unless it was skipped."""
        config = self.config
        if not self.plain_because and all_chosen and isinstance(part.obs, Tensor):
            weights: dict[str, Any] = {"vf_coef": config.vf_coef, "ent_coef": self.ent_coef}
            over, advantage, target = config.average_over, columns["advantage"], columns["target"]
            fused = partial(fused_ppo.gradients, self.policy, part, advantage, target, clip=self.clip_range, over=over, **weights)
            return self.optimiser.step_on(fused)
        return self.optimiser.step(part, self.loss, over=config.average_over, all_chosen=all_chosen, aux_total=aux_total, **columns)

    def _mean_kl(self, policy_stats: list[PolicyStats]) -> float:
        """KL(sampling || current) of a minibatch, averaged over the processes, so that all of them stop together."""
        divergence = describe_update(policy_stats).get("policy/kl_sampling", 0.0)
        return float(distributed.mean(torch.tensor(divergence, device=self.optimiser.device)))

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": self.config.advantage, "samples": self.config.num_samples}

    state_dict = state_of

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; earlier versions knew no bonus."""
        load_state(self, {"bonus": None, **state})
