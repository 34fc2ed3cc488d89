"""V-trace actor-critic (IMPALA, Espeholt et al. 2018): learns from actors whose weights lag behind the learner's."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from seqrl.diagnostics import describe_advantage, describe_ratios, describe_rollout, explained_variance
from seqrl.functional import losses, returns
from seqrl.functional.reductions import AverageOver, masked_mean
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import require_critic
from seqrl.settings import Count, Fraction, NotNegative, check_settings
from seqrl.trainers.importance_weights import StaleActor, with_last_observation
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory


@dataclass
class VTraceConfig:
    """Settings of the V-trace actor-critic.

    Attributes:
        actor_lag: the policy acts with the weights that it had so many updates ago. 0 acts with the present ones, which
            makes the update that of A2C with the return of the whole stretch.
        corrected: weigh what the old policy did by the ratio of probabilities; false learns from it as if it were fresh.
        rho_bar: largest ratio that weighs a temporal difference; sets what the critic converges to.
        c_bar: largest ratio that weighs what follows; sets how fast. At most `rho_bar`.
        num_samples: rows sampled for each context.
        gamma: discount γ, per step.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum) or "row_means"; see `reductions.masked_mean`.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the critic's squared error.
        optimiser: see `OptimiserConfig`.
    """

    actor_lag: NotNegative[int] = 1
    corrected: bool = True
    rho_bar: float = 1.0
    c_bar: float = 1.0
    num_samples: Count = 1
    gamma: Fraction = 0.99
    average_over: AverageOver = "steps"
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 < self.c_bar <= self.rho_bar:
            raise ValueError(f"c_bar, rho_bar: expected 0 < c_bar <= rho_bar, got {self.c_bar} and {self.rho_bar}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> VTrace:
        """Make the trainer."""
        return VTrace(policy, self, seed=seed, num_updates=num_updates)


class VTrace:
    """Follows E_mu[rho_t (r_t + gamma v_{t+1} - V(s_t)) grad log pi(a_t | s_t)]; the critic learns the V-trace targets v_t.

    rho_t = min(rho_bar, pi(a_t | s_t) / mu(a_t | s_t)), where mu is the policy that acted. See `seqrl.functional.returns.vtrace`.

    Source: Espeholt et al. 2018 (IMPALA), V-trace actor-critic.

    Differs from: Espeholt et al. (2018) in one process: actors and learner take turns, and the lag is set instead of measured;
    in means (over the steps unless `average_over` says otherwise) instead of sums over the batch; in AdamW instead of RMSprop.

    Args:
        policy: trained in place; needs a critic.
        config: see `VTraceConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no critic.
    """

    saved = ("actor",)

    def __init__(self, policy: nn.Module, config: VTraceConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or VTraceConfig()
        self.weighs_older_rows = self.config.corrected
        require_critic(policy, "vtrace")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.actor = StaleActor(policy, self.config.actor_lag)

    def collect(self, task: Task) -> Trajectory:
        """Sample the next stretch of steps, or rows, with the weights of the actors."""
        self.policy.eval()
        with self.actor.acting():
            trajectory = task.rollout(self.policy, num_samples=self.config.num_samples, generator=self.optimiser.generator)
        return trajectory.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step; log-probabilities and values of the learner come from one forward pass."""
        config, mask = self.config, trajectory.mask
        seen: list[tuple[Tensor, ...]] = []
        stats = describe_rollout(trajectory)
        stats |= self.optimiser.minimise(
            with_last_observation(trajectory), partial(self.loss, seen), over=config.average_over, sampled=trajectory
        )
        value, ratio, target, advantage = (torch.cat(column) for column in zip(*seen, strict=True))
        stats |= describe_advantage(advantage, mask) | describe_ratios(ratio, mask)
        stats["importance/clipped_share"] = float(masked_mean((ratio > config.rho_bar).float(), mask))
        stats["critic/explained_variance"] = explained_variance(value[:, :-1], target, mask)
        self.optimiser.finish_update()
        return stats

    def loss(
        self, seen: list[tuple[Tensor, ...]], part: Trajectory, evaluation: Evaluation, sampled: Trajectory
    ) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T], and note values, ratios, targets and advantages."""
        config, T = self.config, sampled.num_steps
        logp, value = evaluation.logp[:, :T], torch.zeros_like(sampled.value)
        value[:, : part.num_steps] = evaluation.value.detach()
        # Where the policy did not choose, log-probabilities mean nothing and their ratio could overflow.
        learner = torch.where(sampled.mask, logp.detach(), sampled.logp) if config.corrected else sampled.logp
        history = (sampled.logp, sampled.reward, value, sampled.terminated, sampled.truncated, config.gamma)
        target, advantage = returns.vtrace(learner, *history, config.rho_bar, config.c_bar)
        seen.append((value, (learner - sampled.logp).exp(), target, advantage))
        return {
            "loss/policy": losses.policy_gradient(logp, advantage),
            "loss/value": Term(losses.value(evaluation.value[:, :T], target), config.vf_coef),
            "loss/entropy": Term(evaluation.entropy[:, :T], -config.ent_coef),
        }

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": "vtrace", "samples": self.config.num_samples}

    state_dict = state_of
    load_state_dict = load_state
