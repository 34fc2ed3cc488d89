"""REINFORCE (Williams 1992): make likely what turned out better than a baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from seqrl import advantages, losses, returns
from seqrl.diagnostics import describe_advantage, describe_rollout, explained_variance
from seqrl.mixing import MixConfig, collect_mixed, imitation_loss
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig
from seqrl.protocols import Task, demonstrations_of, require_critic, require_probabilities
from seqrl.reduce import masked_mean
from seqrl.trajectory import Evaluation, Trajectory

Baseline = Literal["none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy"]


@dataclass
class ReinforceConfig:
    """Settings of REINFORCE.

    Attributes:
        baseline: what is subtracted from the return. "none"; "moving_average" of the returns so far; "critic", the
            policy's value estimate; "leave_one_out", the mean of the group's other rows (Kool et al. 2019); "group_norm",
            the group's mean, divided by its deviation (Shao et al. 2024); "greedy", the greedy row's score.
        num_samples: rows sampled for each context.
        discount: gamma, per step.
        reward_to_go: credit an action with what came after it only, instead of the whole row's return.
        average_decay: decay of the moving average.
        whiten: scale the advantages of a batch to mean 0 and deviation 1.
        entropy_weight: weight of the entropy bonus.
        value_weight: weight of the critic's squared error.
        dropout: keep dropout on in the update; sampling never has it.
        mix: cross-entropy beside the policy gradient, see `MixConfig`.
        optimiser: see `OptimiserConfig`.
    """

    baseline: Baseline = "leave_one_out"
    num_samples: int = 5
    discount: float = 1.0
    reward_to_go: bool = True
    average_decay: float = 0.95
    whiten: bool = False
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    dropout: bool = False
    mix: MixConfig = field(default_factory=MixConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        if self.baseline not in get_args(Baseline):
            raise ValueError(f"baseline: expected one of {', '.join(get_args(Baseline))}, got {self.baseline!r}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1, got {self.num_samples}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount: expected a number from 0 to 1, got {self.discount}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Reinforce:
        """Make the trainer."""
        return Reinforce(policy, self, seed=seed, num_updates=num_updates)


class Reinforce:
    """Follows E[sum_t (G_t - b) grad log pi(a_t | s_t)], averaged over the steps that count.

    Source: Williams 1992 (Simple statistical gradient-following algorithms), episodic REINFORCE; returns to go: Sutton et al. 2000
    (Policy gradient methods for reinforcement learning with function approximation).

    Differs from: Williams (1992) in dividing by the number of steps rather than of rows, which only scales the step size.

    Args:
        policy: trained in place.
        config: see `ReinforceConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.
    """

    def __init__(self, policy: nn.Module, config: ReinforceConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "reinforce")
        self.policy = policy
        self.config = config or ReinforceConfig()
        if self.config.baseline == "critic":
            require_critic(policy, "reinforce with baseline critic")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
        self.generator = self.optimiser.make_generator(seed)
        self.average: Tensor | None = None

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where the mix asks for them."""
        rollout = partial(
            task.rollout,
            self.policy,
            num_samples=self.config.num_samples,
            greedy_baseline=self.config.baseline == "greedy",
            generator=self.generator,
        )
        self.policy.eval()
        trajectory = collect_mixed(self.config.mix, self.optimiser.num_finished, rollout, demonstrations_of(task))
        return trajectory.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step along the policy gradient."""
        average_before = self.average
        config, mask = self.config, trajectory.mask
        target, advantage = self._advantage(trajectory)
        if config.whiten:
            advantage = self.optimiser.whiten(advantage, mask)
        imitation_weight = config.mix.weight_at(self.optimiser.num_finished)
        count = self.optimiser.count(mask)
        imitation_count = self.optimiser.count(mask if trajectory.imitate is None else trajectory.imitate)
        stats = describe_rollout(trajectory) | describe_advantage(advantage, mask)
        if config.baseline == "critic":
            stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, mask)

        def loss_terms(rows: slice, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            terms = {"loss/policy": masked_mean(losses.policy_gradient(evaluation.logp, advantage[rows]), part.mask, count)}
            if config.entropy_weight:
                terms["loss/entropy"] = -config.entropy_weight * masked_mean(evaluation.entropy, part.mask, count)
            if config.baseline == "critic":
                terms["loss/value"] = config.value_weight * masked_mean(losses.value(evaluation.value, target[rows]), part.mask, count)
            if imitation_weight:
                terms["loss/cross_entropy"] = imitation_weight * imitation_loss(part, evaluation, imitation_count)
            return terms

        self.policy.train(config.dropout)
        stats |= self.optimiser.minimise(trajectory, loss_terms)
        if stats[SKIPPED]:  # what was not finite would stay in the average for ever
            self.average = average_before
        self.optimiser.finish_update()
        return stats

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the returns G and the advantages, [B, T] each."""
        config, mask = self.config, trajectory.mask
        value = trajectory.value if config.baseline == "critic" else torch.zeros_like(trajectory.value)
        go = returns.discounted_return(trajectory.reward, value, trajectory.terminated, trajectory.truncated, config.discount)
        score, valid = go[:, 0], mask.any(dim=1)
        credit = go if config.reward_to_go else score.unsqueeze(1).expand_as(go)
        if config.baseline == "critic":
            return go, advantages.critic(credit, value)
        if config.baseline == "moving_average":
            advantage = torch.zeros_like(credit)
            if bool(mask.any()):
                advantage[mask], average = advantages.moving_average(credit[mask], self.average, config.average_decay)
                self.average = self.optimiser.mean(average)
            return go, advantage
        if config.baseline == "group_norm":  # a row's steps share its advantage: there is no return to go of a normed score
            return go, advantages.group_norm(score, trajectory.group, valid).unsqueeze(1).expand_as(go)
        if config.baseline == "leave_one_out":
            row = advantages.leave_one_out(score, trajectory.group, valid)
        elif config.baseline == "greedy":
            row = advantages.greedy(score, trajectory.baseline)
        else:
            row = advantages.none(score)
        return go, row.unsqueeze(1) + (credit - score.unsqueeze(1))

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's, the generator's and the baseline's state."""
        return {"optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(), "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.average = state["average"]
