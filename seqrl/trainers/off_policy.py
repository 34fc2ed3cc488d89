"""Off-policy policy gradient: learns from what another policy did, each decision weighted by ratios of probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import average_of, describe_advantage, describe_ratios, describe_rollout, explained_variance
from seqrl.functional import losses, returns
from seqrl.functional.importance import corrected_return, cumulative_ratio, per_decision_return, per_row_mean
from seqrl.functional.reductions import AverageOver
from seqrl.functional.row_advantages import one_episode
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import require_critic, require_distribution, require_probabilities, require_whole_rows
from seqrl.settings import Count, Fraction, NotNegative, check_settings
from seqrl.trainers.importance_weights import StaleActor, UniformMixture, with_last_observation
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory


@dataclass
class OffPolicyConfig:
    """Settings of the off-policy policy gradient.

    Attributes:
        actor_lag: the policy acts with the weights that it had so many updates ago; null: always with the first ones.
        epsilon: probability with which an action is drawn evenly instead; for one choice among numbered actions.
        weighting: "per_decision": a reward counts as much as all decisions up to it are more likely now than when they were
            made, without bias; "own_action": an action's own ratio and those of what follows, in the states that were
            visited (Degris et al. 2012); "none": as if the data were fresh.
        max_weight: weights are cut off here; 0 leaves them, which keeps the estimate unbiased and its variance unbounded.
        self_normalise: divide the weights of each step by their mean over the rows; for "per_decision" with one episode a row.
        baseline: "critic" subtracts the policy's value estimate, which learns V-trace targets; "none".
        epochs: optimiser steps on the same rows, with new ratios for each.
        num_samples: rows sampled for each context.
        gamma: discount γ, per step.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum) or "row_means"; see `reductions.masked_mean`.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the critic's squared error.
        optimiser: see `OptimiserConfig`.
    """

    actor_lag: NotNegative[int] | None = 1
    epsilon: Fraction = 0.0
    weighting: Literal["per_decision", "own_action", "none"] = "per_decision"
    max_weight: NotNegative[float] = 0.0
    self_normalise: bool = False
    baseline: Literal["none", "critic"] = "critic"
    epochs: Count = 1
    num_samples: Count = 1
    gamma: Fraction = 0.99
    average_over: AverageOver = "steps"
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.self_normalise and self.weighting != "per_decision":
            raise ValueError(f"self_normalise: expected weighting per_decision beside it, got {self.weighting!r}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> OffPolicy:
        """Make the trainer."""
        return OffPolicy(policy, self, seed=seed, num_updates=num_updates)


class OffPolicy:
    """Follows the gradient of the expected return under pi, from rows that mu has sampled.

    E_mu[sum_t grad log pi(a_t | s_t) (sum_{k >= t} gamma^(k-t) w_k r_k - w_t V(s_t))]
    with w_t = prod_{j <= t} pi(a_j | s_j) / mu(a_j | s_j)

    Source: Precup et al. 2000 (Eligibility traces for off-policy policy evaluation), per-decision importance sampling; Degris et al.
    2012 (Off-policy actor-critic), for "own_action".

    Differs from: Degris et al. (2012) in Monte-Carlo returns and V-trace targets for the critic instead of gradient-TD traces. As in
    `reinforce`, sums over the rows are divided by the number of steps unless `average_over` is "rows", without which the estimate has the
    bias of a ratio; gamma^t is left out of the state's weight.

    Args:
        policy: trained in place.
        config: see `OffPolicyConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no probabilities to learn, or no critic that is the baseline, or cannot be mixed with chance
            actions, or weights are to be normalised over several processes.
    """

    saved = ("actor",)

    def __init__(self, policy: nn.Module, config: OffPolicyConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or OffPolicyConfig()
        self.weighs_older_rows = self.config.weighting != "none"
        require_probabilities(policy, "off_policy")
        if self.config.epsilon:
            require_distribution(policy, "epsilon", "set trainer.epsilon=0")
            if hasattr(policy, "choose"):
                raise ValueError(
                    f"epsilon: expected a policy that acts step by step, a {type(policy).__name__} chooses a game's moves itself; "
                    "set trainer.epsilon=0"
                )
        if self.config.self_normalise and distributed.num_launched() > 1:
            raise ValueError("self_normalise: expected one process, since the rows of several end at different steps; switch it off")
        if self.config.baseline == "critic":
            require_critic(policy, "off_policy")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.actor = StaleActor(policy, self.config.actor_lag)

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps where weights are normalised over whole episodes."""
        if self.config.self_normalise:
            require_whole_rows(task, "off_policy with self_normalise")

    def collect(self, task: Task) -> Trajectory:
        """Sample rows with the behaviour policy."""
        self.check_task(task)
        self.policy.eval()
        behaviour = UniformMixture(self.policy, self.config.epsilon) if self.config.epsilon else self.policy
        with self.actor.acting():
            trajectory = task.rollout(behaviour, num_samples=self.config.num_samples, generator=self.optimiser.generator)
        return trajectory.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take `epochs` optimiser steps along the weighted policy gradient."""
        stats = describe_rollout(trajectory)
        stats |= average_of([self._improve(trajectory) for _ in range(self.config.epochs)])
        self.optimiser.finish_update()
        return stats

    def _improve(self, trajectory: Trajectory) -> dict[str, float]:
        config, mask = self.config, trajectory.mask
        logp, value = self._evaluate(trajectory)
        # Where the policy did not choose, log-probabilities mean nothing and their ratio could overflow.
        ratio = torch.where(mask, logp - trajectory.logp, 0.0).exp() if config.weighting != "none" else torch.ones_like(logp)
        weight, advantage = self._advantage(trajectory, ratio, value)
        ends = (trajectory.terminated, trajectory.truncated)
        target, _ = returns.vtrace(ratio.log(), torch.zeros_like(ratio), trajectory.reward, value, *ends, config.gamma)
        stats = self.optimiser.minimise(trajectory, self.loss, over=config.average_over, advantage=advantage, target=target)
        stats |= describe_advantage(advantage, mask) | describe_ratios(weight, mask)
        if config.baseline == "critic":
            stats["critic/explained_variance"] = explained_variance(value[:, :-1], target, mask)
        return stats

    def loss(self, part: Trajectory, evaluation: Evaluation, advantage: Tensor, target: Tensor) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]."""
        terms: dict[str, Tensor | Term] = {"loss/policy": losses.policy_gradient(evaluation.logp, advantage)}
        if self.config.baseline == "critic":
            terms["loss/value"] = Term(losses.value(evaluation.value, target), self.config.vf_coef)
        terms["loss/entropy"] = Term(evaluation.entropy, -self.config.ent_coef)
        return terms

    @torch.no_grad()
    def _evaluate(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the learner's log-probabilities [B, T] and values [B, T+1], of which the last is 0 where nothing needs it."""
        T = trajectory.num_steps
        seen = with_last_observation(trajectory)
        evaluation: Evaluation = self.policy(seen)
        value = torch.zeros_like(trajectory.value)
        if self.config.baseline == "critic":
            value[:, : seen.num_steps] = evaluation.value
        return evaluation.logp[:, :T], value

    def _advantage(self, trajectory: Trajectory, ratio: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Give the weights and the weighted advantages, [B, T] each."""
        config, ends = self.config, (trajectory.terminated, trajectory.truncated)
        limit = config.max_weight or math.inf
        if config.weighting == "per_decision":
            ended = trajectory.terminated | trajectory.truncated
            weight = cumulative_ratio(ratio, ended).clamp(max=limit)
            if config.self_normalise:
                one_episode(trajectory, "self_normalise", "set trainer.self_normalise=false")
                rows = trajectory.mask.any(dim=1)  # a row in which nothing was chosen has no weight
                weight = weight / distributed.mean(per_row_mean(weight, ended, rows)).clamp(min=1e-8)
            return weight, per_decision_return(trajectory.reward, weight, value, *ends, config.gamma) - weight * value[:, :-1]
        own = ratio.clamp(max=limit)
        # What follows a decision is weighted by the ratios after it: r_t + gamma rho_{t+1} (r_{t+1} + ...).
        later = corrected_return(trajectory.reward, own, value, *ends, config.gamma)
        return own, own * (later - value[:, :-1])

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": self.config.baseline, "samples": self.config.num_samples}

    state_dict = state_of
    load_state_dict = load_state
