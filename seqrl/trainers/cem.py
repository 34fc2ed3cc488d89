"""The cross-entropy method (Rubinstein 1999): sample rows, keep the best, make them more likely."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.auxiliary import has_aux_loss, refuse_unknown_aux_loss
from seqrl.diagnostics import average_of, describe_rollout
from seqrl.functional.losses import nll
from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig, Term
from seqrl.policies.tables import ProbabilityTable
from seqrl.protocols import Task
from seqrl.requirements import hint, require_probabilities, require_whole_rows
from seqrl.settings import Count, Fraction, Limit, NotNegative, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory, concatenate

Percentile = Annotated[float, Limit("a number in 0..100", lambda value: 0 <= value <= 100)]


@dataclass
class CrossEntropyConfig:
    """Settings of the cross-entropy method.

    Attributes:
        num_samples: rows sampled for each context.
        percentile: rows that score at least this percentile are elites, 0 to 100; a row as bad as the worst never is.
        threshold: whose percentile counts: that of the whole "batch", or that of each "group" of rows that share a context,
            which suits contexts of unlike difficulty (captions).
        elite_iterations: elites are imitated in as many updates, together with those that come after them; 3 to 5 make
            better use of rare ones.
        gamma: discount γ of the score, per step; below 1 it prefers what is reached sooner.
        fit: how elites are imitated: "gradient", steps on the cross-entropy (or the likelihood of continuous actions), or
            "counts", the shares of actions in a probability table.
        smoothing: Laplace's, added to each count of "counts".
        mixing: weight of the new shares of "counts", in 0..1; the rest is the old table's.
        gradient_steps: optimiser steps an update.
        minibatch_rows: elites of an optimiser step, drawn anew for each; 0 takes all. An auxiliary loss of the policy's is then learned
            on as large a share of the rows.
        ent_coef: weight of the entropy bonus, which keeps a Gaussian from becoming narrow too soon; 0 with "counts".
        dropout: keep dropout on in the update; sampling never has it.
        optimiser: see `OptimiserConfig`; without effect on "counts".
    """

    num_samples: Count = 1
    percentile: Percentile = 80.0
    threshold: Literal["batch", "group"] = "batch"
    elite_iterations: Count = 1
    gamma: Fraction = 1.0
    fit: Literal["gradient", "counts"] = "gradient"
    smoothing: NotNegative[float] = 0.1
    mixing: Fraction = 0.5
    gradient_steps: Count = 10
    minibatch_rows: NotNegative[int] = 0
    ent_coef: NotNegative[float] = 0.0
    dropout: bool = False
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.threshold == "group" and self.num_samples < 2:
            raise ValueError(f"num_samples: expected at least 2 with threshold group, got {self.num_samples}")
        if self.fit == "counts" and self.ent_coef:
            raise ValueError(f"ent_coef: expected 0 with fit counts, whose smoothing keeps actions alive, got {self.ent_coef}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> CrossEntropyMethod:
        """Make the trainer."""
        return CrossEntropyMethod(policy, self, seed=seed, num_updates=num_updates)


class CrossEntropyMethod:
    """Maximises Σ log π(a|s) over the steps of the elites, the rows n whose score S_n is at least the percentile γ_ρ(S).

    Elites are the policy's own samples, so they keep their `mask`; they are no demonstrations. An auxiliary loss of the policy's, such as
    the classes of a glimpse policy, is learned on all rows of the rollout, in a pass of its own beside that over the elites: of elites
    alone, which it has named rightly already, a classifier learns nothing but to be surer.

    Under several processes each compares its own rows; gradients are averaged.

    Args:
        policy: trained in place.
        config: see `CrossEntropyConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no probabilities to learn, or "counts" meets one that is no table of them, or several
            processes.

    Source: Rubinstein 1999 (The cross-entropy method for combinatorial and continuous optimization); de Boer et al. 2005 (A
    tutorial on the cross-entropy method); for policies: Mannor et al. 2003 (The cross entropy method for fast policy search).
    Differs from: these, in elites that are kept for several updates, in rows as bad as the worst, which are never elites, and in the
    auxiliary loss.
    """

    own_state = ("generator", "elites")

    def __init__(self, policy: nn.Module, config: CrossEntropyConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or CrossEntropyConfig()
        if self.config.fit == "counts" and not isinstance(policy, ProbabilityTable):
            raise ValueError(
                f"trainer.fit: counts needs a table of probabilities, got a {type(policy).__name__}; "
                f"{hint(policy, 'probability_table')}set trainer.fit=gradient"
            )
        if self.config.fit == "counts" and distributed.num_launched() > 1:
            raise ValueError("trainer.fit: counts changes a table that processes cannot share; run it in one, or set trainer.fit=gradient")
        if self.config.fit == "gradient":
            require_probabilities(policy, "cem")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.elites: list[Trajectory] = []

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps, whose scores say nothing about each other."""
        require_whole_rows(task, "cem")

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts."""
        self.check_task(task)
        rows = task.rollout(self.policy.eval(), num_samples=self.config.num_samples, generator=self.optimiser.generator)
        return rows.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Choose the elites and imitate them, with those of the last updates."""
        config = self.config
        chosen, values = choose_elites(trajectory, config.percentile, by_group=config.threshold == "group", gamma=config.gamma)
        self.elites = [*self.elites, trajectory.select_rows(chosen)][-config.elite_iterations :]
        elites = concatenate(self.elites)
        stats = describe_rollout(trajectory) | values | {"elite/num_rows": float(elites.batch_size)}
        if config.fit == "counts":
            stats |= self._count(elites)
        else:
            stats |= self._fit(elites, trajectory)
        self.optimiser.finish_update()
        return stats

    def _count(self, elites: Trajectory) -> dict[str, float]:
        """Move a table towards the shares of the elites' actions."""
        if not elites.batch_size:
            return {}
        assert isinstance(self.policy, ProbabilityTable)
        self.policy.count(elites, smoothing=self.config.smoothing, mixing=self.config.mixing)
        with torch.no_grad():
            entropy = self.policy(elites).entropy
        return {"policy/entropy": float(masked_mean(entropy, elites.mask))}

    def _fit(self, elites: Trajectory, rollout: Trajectory) -> dict[str, float]:
        """Make the elites' actions more likely, and learn the policy's auxiliary loss on the rollout, where it has one."""
        has_aux = has_aux_loss(self.policy, rollout)
        # Every process takes part in each optimiser step, one without elites, too.
        sizes = distributed.mean(torch.tensor([float(elites.batch_size), float(has_aux)], device=self.optimiser.device))
        if not bool(sizes.any()):
            return {}
        self.policy.train(self.config.dropout)
        somewhere = bool(sizes[1])
        history = [self._descend(*self._draw(elites, rollout if somewhere else None)) for _ in range(self.config.gradient_steps)]
        return average_of(history)

    def _draw(self, elites: Trajectory, rollout: Trajectory | None) -> tuple[Trajectory, Trajectory | None]:
        """Draw the rows of an optimiser step: elites, and as large a share of the rollout."""
        number = self.config.minibatch_rows
        if not 0 < number < elites.batch_size:
            return elites, rollout

        def drawn(rows: Trajectory, count: int) -> Trajectory:
            order = torch.randperm(rows.batch_size, generator=self.optimiser.generator, device=self.optimiser.device)
            return rows.select_rows(order[:count])

        part = drawn(elites, number)
        return part, None if rollout is None else drawn(rollout, math.ceil(rollout.batch_size * number / elites.batch_size))

    def _descend(self, elites: Trajectory, aux_on: Trajectory | None) -> dict[str, Tensor | float]:
        """Take one optimiser step on the cross-entropy of elites."""
        stats, seen = self.optimiser.step(elites, self.loss, aux_on=aux_on)
        if stats[SKIPPED]:
            return stats
        count, none = distributed.count(elites.mask), torch.zeros((), device=self.optimiser.device)
        return stats | {"policy/entropy": sum((masked_mean(part.entropy, part.mask, count) for part in seen), none)}

    def loss(self, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]."""
        refuse_unknown_aux_loss(self.policy, evaluation, "cem")
        return {"loss/cross_entropy": nll(evaluation.logp), "loss/entropy": Term(evaluation.entropy, -self.config.ent_coef)}

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": "elites", "samples": self.config.num_samples}

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's and the generator's state, and the elites that are still imitated."""
        return {**state_of(self), "elites": [rows.fields() for rows in self.elites]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        load_state(self, state)
        elites = [Trajectory(**rows).to(self.optimiser.device) for rows in state["elites"]]
        # Older runs marked their elites as demonstrations.
        self.elites = [rows.replace(mask=rows.counted, imitate=None) for rows in elites]


@torch.no_grad()
def choose_elites(
    trajectory: Trajectory, percentile: float, *, by_group: bool = False, gamma: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """Mark the rows whose score Σ_t γ^t r_t is at least a percentile of the scores, and above the worst of them.

    Where every row scores the same, nothing is known about what is good, and none is an elite.

    Args:
        trajectory: B rows; those without a step that counts are left out.
        percentile: 0 to 100; between two scores it is interpolated linearly.
        by_group: compare each row with those of its group only; all rows are one group where `group` is None.
        gamma: discount γ.

    Returns:
        ([B] bool; the mean threshold, the elites' mean score and their share of the rows).

    Raises:
        ValueError: when a score is not finite.
    """
    powers = gamma ** torch.arange(trajectory.num_steps, device=trajectory.reward.device, dtype=torch.float64)
    score = (trajectory.reward.double() * powers).sum(dim=1)
    valid = trajectory.mask.any(dim=1)
    if not bool(score[valid].isfinite().all()):
        raise ValueError("elites: expected finite scores, got some that are not; look at the task's rewards")
    group = trajectory.group if by_group and trajectory.group is not None else torch.zeros_like(valid, dtype=torch.long)
    elite, thresholds = torch.zeros_like(valid), []
    for number in group[valid].unique():
        members = valid & (group == number)
        least, threshold = percentile_of(score[members], percentile)
        elite |= members & (score >= least) & (score > score[members].min())
        thresholds.append(threshold)
    if not thresholds:
        return elite, {}
    stats = {
        "elite/threshold": float(masked_mean(torch.stack(thresholds), None)),
        "elite/share": float(masked_mean(elite.float(), valid)),
    }
    if bool(elite.any()):
        stats["elite/score"] = float(masked_mean(score, elite))
    return elite, stats


def percentile_of(score: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """Give the least of some scores that is at or above their percentile, and the percentile itself, [] each.

    With the scores sorted, s_0 <= ... <= s_{n-1}, and p = (n - 1) percentile / 100 these are s_⌈p⌉ and
    s_⌊p⌋ + (p - ⌊p⌋) (s_⌈p⌉ - s_⌊p⌋). Ranks decide who is an elite, since the second may be rounded up above a score that it equals.

    Args:
        score: [n] float64, n >= 1.
        percentile: 0 to 100.

    Source: Hyndman & Fan 1996 (Sample quantiles in statistical packages), definition 7, which is numpy's.
    """
    position = percentile * (score.shape[0] - 1) / 100  # divided last, as only then a whole number comes out whole
    ranked = score.sort().values
    below, above = ranked[math.floor(position)], ranked[math.ceil(position)]
    return above, below + (position - math.floor(position)) * (above - below)
