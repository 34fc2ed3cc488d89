"""The cross-entropy method (Rubinstein 1999): sample rows, keep the best, make them more likely."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from seqrl.accelerator import num_launched
from seqrl.diagnostics import average_of, describe_rollout
from seqrl.mixing import imitation_loss
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.protocols import Task, require_probabilities
from seqrl.reduce import masked_mean
from seqrl.tables import ProbabilityTable
from seqrl.trajectory import Evaluation, Trajectory, concatenate

Threshold = Literal["batch", "group"]
Fit = Literal["gradient", "counts"]


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
        discount: gamma of the score, per step; below 1 it prefers what is reached sooner.
        fit: how elites are imitated: "gradient", steps on the cross-entropy (or the likelihood of continuous actions), or
            "counts", the shares of actions in a probability table.
        smoothing: Laplace's, added to each count of "counts".
        mixing: weight of the new shares of "counts", in 0..1; the rest is the old table's.
        gradient_steps: optimiser steps an update.
        minibatch_rows: elites of an optimiser step, drawn anew for each; 0 takes all.
        entropy_weight: weight of the entropy bonus, which keeps a Gaussian from becoming narrow too soon; 0 with "counts".
        dropout: keep dropout on in the update; sampling never has it.
        optimiser: see `OptimiserConfig`; without effect on "counts".
    """

    num_samples: int = 1
    percentile: float = 80.0
    threshold: Threshold = "batch"
    elite_iterations: int = 1
    discount: float = 1.0
    fit: Fit = "gradient"
    smoothing: float = 0.1
    mixing: float = 0.5
    gradient_steps: int = 10
    minibatch_rows: int = 0
    entropy_weight: float = 0.0
    dropout: bool = False
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        for name in ("num_samples", "elite_iterations", "gradient_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name, choices in (("threshold", get_args(Threshold)), ("fit", get_args(Fit))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile: expected a number in 0..100, got {self.percentile}")
        if self.threshold == "group" and self.num_samples < 2:
            raise ValueError(f"num_samples: expected at least 2 with threshold group, got {self.num_samples}")
        for name in ("discount", "mixing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in 0..1, got {getattr(self, name)}")
        if self.fit == "counts" and self.entropy_weight:
            raise ValueError(f"entropy_weight: expected 0 with fit counts, whose smoothing keeps actions alive, got {self.entropy_weight}")
        for name in ("smoothing", "minibatch_rows", "entropy_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected no negative number, got {getattr(self, name)}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> CrossEntropyMethod:
        """Make the trainer."""
        return CrossEntropyMethod(policy, self, seed=seed, num_updates=num_updates)


class CrossEntropyMethod:
    """Maximises Σ log π(a|s) over the steps of the elites, the rows n whose score S_n is at least the percentile γ_ρ(S).

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
    Differs from: these, in elites that are kept for several updates, and in rows as bad as the worst, which are never elites.
    """

    own_state = ("generator", "elites")

    def __init__(self, policy: nn.Module, config: CrossEntropyConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or CrossEntropyConfig()
        if self.config.fit == "counts" and not isinstance(policy, ProbabilityTable):
            raise ValueError(
                f"trainer.fit: counts needs a table of probabilities, got a {type(policy).__name__}; set "
                "task.policy.kind=probability_table (numbered observations and actions), or trainer.fit=gradient"
            )
        if self.config.fit == "counts" and num_launched() > 1:
            raise ValueError("trainer.fit: counts changes a table that processes cannot share; run it in one, or set trainer.fit=gradient")
        if self.config.fit == "gradient":
            require_probabilities(policy, "cem")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
        self.generator = self.optimiser.make_generator(seed)
        self.elites: list[Trajectory] = []

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts."""
        self.policy.eval()
        trajectory = task.rollout(self.policy, num_samples=self.config.num_samples, generator=self.generator)
        return trajectory.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Choose the elites and imitate them, with those of the last updates."""
        config = self.config
        chosen, figures = choose_elites(trajectory, config.percentile, by_group=config.threshold == "group", discount=config.discount)
        rows = trajectory.select_rows(chosen)
        self.elites = [*self.elites, rows.replace(mask=torch.zeros_like(rows.mask), imitate=rows.mask)][-config.elite_iterations :]
        elites = concatenate(self.elites)
        stats = describe_rollout(trajectory) | figures | {"elite/num_rows": float(elites.batch_size)}
        # Every process takes part in each optimiser step, one without elites, too.
        if float(self.optimiser.mean(torch.tensor(float(elites.batch_size), device=self.optimiser.device))):
            stats |= self._imitate(elites)
        self.optimiser.finish_update()
        return stats

    def _imitate(self, elites: Trajectory) -> dict[str, float]:
        """Make the elites' actions more likely."""
        config = self.config
        if config.fit == "counts":
            assert isinstance(self.policy, ProbabilityTable)
            self.policy.count(elites, smoothing=config.smoothing, mixing=config.mixing)
            with torch.no_grad():
                entropy = self.policy(elites).entropy
            return {"policy/entropy": float(masked_mean(entropy, elites.counted))}
        self.policy.train(config.dropout)
        history = []
        for _ in range(config.gradient_steps):
            part = elites
            if 0 < config.minibatch_rows < elites.batch_size:
                order = torch.randperm(elites.batch_size, generator=self.generator, device=self.optimiser.device)
                part = elites.select_rows(order[: config.minibatch_rows])
            history.append(self._descend(part))
        return average_of(history)

    def _descend(self, elites: Trajectory) -> dict[str, float]:
        """Take one optimiser step on the cross-entropy of elites."""
        count = self.optimiser.count(elites.counted)
        weight = self.config.entropy_weight

        def loss_terms(rows: slice, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
            terms = {"loss/cross_entropy": imitation_loss(part, evaluation, count)}
            if weight:
                terms["loss/entropy"] = -weight * masked_mean(evaluation.entropy, part.counted, count)
            return terms

        return self.optimiser.minimise(elites, loss_terms)

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's and the generator's state, and the elites that are still imitated."""
        elites = [{item.name: getattr(rows, item.name) for item in dataclasses.fields(rows)} for rows in self.elites]
        return {"optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(), "elites": elites}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.elites = [Trajectory(**rows).to(self.optimiser.device) for rows in state["elites"]]


@torch.no_grad()
def choose_elites(
    trajectory: Trajectory, percentile: float, *, by_group: bool = False, discount: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """Mark the rows whose score Σ_t γ^t r_t is at least a percentile of the scores, and above the worst of them.

    Where every row scores the same, nothing is known about what is good, and none is an elite.

    Args:
        trajectory: B rows; those without a step that counts are left out.
        percentile: 0 to 100; between two scores it is interpolated linearly.
        by_group: compare each row with those of its group only; all rows are one group where `group` is None.
        discount: γ.

    Returns:
        ([B] bool; the mean threshold, the elites' mean score and their share of the rows).
    """
    powers = discount ** torch.arange(trajectory.num_steps, device=trajectory.reward.device)
    score = (trajectory.reward * powers).sum(dim=1)
    valid = trajectory.mask.any(dim=1)
    group = trajectory.group if by_group and trajectory.group is not None else torch.zeros_like(valid, dtype=torch.long)
    elite, thresholds = torch.zeros_like(valid), []
    for number in group[valid].unique():
        members = valid & (group == number)
        threshold = torch.quantile(score[members], percentile / 100)
        elite |= members & (score >= threshold) & (score > score[members].min())
        thresholds.append(threshold)
    if not thresholds:
        return elite, {}
    figures = {
        "elite/threshold": float(masked_mean(torch.stack(thresholds), torch.ones(len(thresholds), dtype=torch.bool, device=score.device))),
        "elite/share": float(masked_mean(elite.float(), valid)),
    }
    if bool(elite.any()):
        figures["elite/score"] = float(masked_mean(score, elite))
    return elite, figures
