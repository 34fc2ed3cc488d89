"""REINFORCE (Williams 1992): make likely what turned out better than a baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import describe_advantage, describe_rollout, explained_variance
from seqrl.functional import advantages, losses, returns
from seqrl.functional.importance import row_ratio
from seqrl.functional.minimum_risk import candidates, minimum_risk
from seqrl.functional.reductions import AverageOver
from seqrl.functional.row_advantages import RowBaseline, one_episode, row_advantage
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import lags, require_critic, require_probabilities, require_whole_rows
from seqrl.settings import Count, Fraction, Positive, check_settings
from seqrl.trainers.imitation import ImitationConfig, collect_rows, imitation_loss
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

INSTEAD = "trainer.baseline to none, moving_average or critic"


@dataclass
class ReinforceConfig:
    """Settings of REINFORCE.

    Attributes:
        baseline: what is subtracted from the return. "none"; "moving_average" of the returns so far; "critic", the
            policy's value estimate; "leave_one_out", the mean of the group's other rows (Kool et al. 2019), at the same step with
            reward_to_go; "group_norm", the group's mean, divided by its deviation: GRPO's advantage, without the rest of GRPO, which is
            the trainer ppo's (Shao et al. 2024); "greedy", the greedy row's score, without a discount; "minimum_risk", the expected
            score of the policy renormalised over the group's rows, which are weighed by it, too, see `functional.minimum_risk` (Shen et al.
            2016, Wen et al. 2016). The last three compare whole rows, and the last four need one episode a row.
        num_samples: rows sampled for each context.
        gamma: discount γ, per step.
        reward_to_go: credit an action with what came after it only, instead of the return of its whole episode; without effect on
            "group_norm", "greedy" and "minimum_risk".
        sharpness: "minimum_risk" alone: the exponent of the probabilities before they are renormalised; Shen's alpha, Wen's gamma.
        candidates: "minimum_risk" alone: a group's rows are "samples", or the `num_samples` best of a "beam" search of that width, which
            are more like what beam search writes later (Edunov et al. 2018).
        average_decay: decay of the moving average.
        whiten: scale the advantages of a batch to mean 0 and deviation 1.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum, Williams's) or "row_means"; see
            `seqrl.functional.reductions.masked_mean`.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the critic's squared error.
        dropout: keep dropout on in the update; sampling never has it.
        imitation: cross-entropy beside the policy gradient, see `ImitationConfig`.
        optimiser: see `OptimiserConfig`.
    """

    baseline: Literal["none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy", "minimum_risk"] = "leave_one_out"
    num_samples: Count = 5
    gamma: Fraction = 1.0
    reward_to_go: bool = True
    sharpness: Positive = 1.0
    candidates: Literal["samples", "beam"] = "samples"
    average_decay: Fraction = 0.95
    whiten: bool = False
    average_over: AverageOver = "steps"
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    dropout: bool = False
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.candidates == "beam" and self.baseline != "minimum_risk":
            raise ValueError(
                f"candidates: expected samples with baseline {self.baseline}, which needs rows that the policy draws, got 'beam'; set "
                "baseline=minimum_risk"
            )
        if self.baseline == "greedy" and self.gamma != 1:
            raise ValueError(
                f"gamma: expected 1 with baseline greedy, whose scores are sums without discount, got {self.gamma}; "
                "set gamma=1, or baseline=leave_one_out"
            )

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Reinforce:
        """Make the trainer."""
        return Reinforce(policy, self, seed=seed, num_updates=num_updates)


class Reinforce:
    """Follows E[sum_t (G_t - b_t) grad log pi(a_t | s_t)].

    Without `reward_to_go` G_t is the return of the whole episode that step t is a part of. The baseline
    b_t depends on no action of the row (but group_norm's does), so that with `average_over: rows`, without whitening and without a
    gamma, the estimate is unbiased.

    Source: Williams 1992 (Simple statistical gradient-following algorithms), episodic REINFORCE; returns to go: Sutton et al. 2000
    (Policy gradient methods for reinforcement learning with function approximation).

    With "minimum_risk" and `average_over: rows` it is the gradient of the expected score over each group's rows.

    Differs from: Williams (1992) in dividing by the number of steps of the batch unless `average_over` is "rows". As that number depends
    on the actions, this is a ratio estimator: the fewer the rows, the more biased.

    Args:
        policy: trained in place.
        config: see `ReinforceConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.
    """

    weighs_older_rows = True
    can_be_sharded = True
    can_split_batches = True
    saved = ("average",)

    def __init__(self, policy: nn.Module, config: ReinforceConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "reinforce")
        self.policy = policy
        self.config = config or ReinforceConfig()
        if self.config.baseline == "critic":
            require_critic(policy, "reinforce with baseline critic")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.lags = False  # whether a task gives rows that an older policy has sampled
        self.average: Tensor | None = None

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps where whole episodes are compared, and demonstrations where there is nothing to imitate."""
        if self.config.baseline in (*get_args(RowBaseline), "minimum_risk"):
            require_whole_rows(task, f"reinforce with baseline {self.config.baseline}")
        self.config.imitation.check_task(task)
        self.lags = lags(task, "reinforce", dropout=self.config.dropout)
        if self.config.candidates == "beam" and (self.lags or not getattr(task, "searches_rows", False)):
            why = "the rewards of a beam search cannot be computed ahead" if self.lags else f"{type(task).__name__} has no beam search"
            raise ValueError(f"trainer.candidates: expected samples, since {why}, got 'beam'")

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where `imitation` asks for them."""
        searched = {"beam": True} if self.config.candidates == "beam" else {}  # other tasks need not know the word
        return collect_rows(self, task, greedy_baseline=self.config.baseline == "greedy", **searched)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step along the policy gradient."""
        average_before = self.average
        config, mask = self.config, trajectory.mask
        target, advantage = self._advantage(trajectory)
        if config.whiten:
            advantage = distributed.whiten(advantage, mask)
        stats = describe_rollout(trajectory) | describe_advantage(advantage, mask)
        if config.baseline == "critic":
            stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, mask)
        self.policy.train(config.dropout)
        columns = {"advantage": advantage, "target": target}
        stats |= self.optimiser.minimise(trajectory, self.loss, lags=self.lags, over=config.average_over, **columns)
        if stats[SKIPPED]:  # what was not finite would stay in the average for ever
            self.average = average_before
        self.optimiser.finish_update()
        return stats

    def loss(self, part: Trajectory, evaluation: Evaluation, advantage: Tensor, target: Tensor) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]."""
        config = self.config
        if self.lags:
            advantage = advantage * row_ratio(evaluation.logp, part.logp, part.mask).unsqueeze(1)
        terms: dict[str, Tensor | Term] = {
            "loss/policy": losses.policy_gradient(evaluation.logp, advantage),
            "loss/entropy": Term(evaluation.entropy, -config.ent_coef),
        }
        if config.baseline == "critic":
            terms["loss/value"] = Term(losses.value(evaluation.value, target), config.vf_coef)
        terms["loss/cross_entropy"] = imitation_loss(evaluation, config.imitation.weight_at(self.optimiser.num_finished))
        return terms

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the returns G and the advantages, [B, T] each."""
        config, mask = self.config, trajectory.mask
        value = trajectory.value if config.baseline == "critic" else torch.zeros_like(trajectory.value)
        ended = trajectory.terminated | trajectory.truncated
        go = returns.discounted_return(trajectory.reward, value, trajectory.terminated, trajectory.truncated, config.gamma)
        if config.reward_to_go and config.baseline not in ("group_norm", "minimum_risk"):
            credit = go
        else:
            credit = returns.episode_return(go, ended, trajectory.counted)
        if config.baseline == "critic":
            return go, advantages.critic(credit, value)
        if config.baseline == "moving_average":
            return go, self._above_average(credit, mask)
        if config.baseline == "none":
            return go, credit
        if config.baseline == "leave_one_out" and config.reward_to_go:
            one_episode(trajectory, "baseline leave_one_out", INSTEAD)
            return go, advantages.leave_one_out_to_go(go, trajectory.counted, trajectory.group, mask.any(dim=1))
        if config.baseline == "minimum_risk":
            one_episode(trajectory, "baseline minimum_risk", INSTEAD)
            logp, same = candidates(trajectory)
            row = minimum_risk(logp, credit[:, -1], config.sharpness, trajectory.group, mask.any(dim=1), same)
            return go, row.unsqueeze(1).expand_as(go)
        # A row's steps share its advantage: there is no return to go of a normed score, nor of the greedy row at this row's steps.
        score = trajectory.score if config.baseline == "greedy" else credit[:, -1]
        row = row_advantage(config.baseline, trajectory, score, setting="baseline", instead=INSTEAD)
        return go, row.unsqueeze(1).expand_as(go)

    def _above_average(self, credit: Tensor, mask: Tensor) -> Tensor:
        """Compare with the average of the batches so far, [B, T]; all processes keep the same one."""
        advantage = torch.zeros_like(credit)
        mean, any_counts = distributed.mean_where(credit, mask)
        if any_counts:
            advantage[mask], self.average = advantages.moving_average(credit[mask], self.average, self.config.average_decay, mean)
        return advantage

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        rows = "beam" if self.config.candidates == "beam" else "samples"
        return {"base": self.config.baseline, rows: self.config.num_samples}

    state_dict = state_of
    load_state_dict = load_state
