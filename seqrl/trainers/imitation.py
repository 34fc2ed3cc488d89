"""Cross-entropy beside the policy gradient: by a weight, or MIXER's forced prefix that shrinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from seqrl.functional.losses import nll
from seqrl.optimiser import Term
from seqrl.protocols import Task
from seqrl.requirements import demonstrations_of
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.trajectory import Evaluation, Trajectory, Tree, concatenate, map_tree


@dataclass
class ImitationConfig:
    """How much cross-entropy on demonstrations goes with the policy gradient.

    With forced steps the demonstrations are those first actions; without, they are rows of their own.

    Attributes:
        weight: weight of the cross-entropy at the first update; 0 uses no demonstrations.
        final_weight: weight after `anneal_updates`, reached linearly.
        anneal_updates: updates from `weight` to `final_weight`; 0 keeps `weight`.
        forced_steps: MIXER: the first actions of each row come from a demonstration and are learned
            by cross-entropy, the rest is sampled, until nothing is forced and no cross-entropy is left. Number of such
            actions at the first update; 0 switches it off.
        forced_decrease: how many fewer actions are forced at each stage.
        forced_updates: updates a stage lasts.

    Source: forced steps: Ranzato et al. 2016 (Sequence level training with recurrent neural networks), MIXER; weighted sum: Wu et
    al. 2016 (Google's neural machine translation system), refinement of trained models.
    Differs from: Ranzato et al. in that every baseline of the trainers goes with it, not a regression alone.
    """

    weight: NotNegative[float] = 0.0
    final_weight: NotNegative[float] = 0.0
    anneal_updates: int = 0
    forced_steps: NotNegative[int] = 0
    forced_decrease: NotNegative[int] = 2
    forced_updates: Count = 100

    def __post_init__(self) -> None:
        check_settings(self)
        if self.forced_steps and not self.weight:
            raise ValueError("forced_steps needs a cross-entropy weight above 0 to learn the forced actions; set imitation.weight")

    def check_task(self, task: Task) -> None:
        """Refuse a task without demonstrations where rows of their own will be asked for.

        Raises:
            ValueError: saying what can be done.
        """
        if not self.forced_steps and (self.weight or (self.final_weight and self.anneal_updates)):
            demonstrations_of(task)

    def weight_at(self, update: int) -> float:
        """Weight of the cross-entropy at an update."""
        if self.anneal_updates <= 0:
            return self.weight
        progress = min(1.0, update / self.anneal_updates)
        return self.weight + (self.final_weight - self.weight) * progress

    def forced_steps_at(self, update: int) -> int:
        """Number of forced first actions at an update."""
        return max(0, self.forced_steps - self.forced_decrease * (update // self.forced_updates))


def collect_rows(trainer: Any, task: Task, *, greedy_baseline: bool = False, **settings: bool) -> Trajectory:
    """Sample rows for a trainer's next contexts and, where its `imitation` asks for it, add demonstrations of the same contexts.

    Args:
        trainer: its `policy`, `optimiser`, and `config` with `num_samples` and `imitation`.
        task: gives the rows.
        greedy_baseline: also score the greedy row of each context.
        settings: what else the task's `rollout` is asked for.

    Raises:
        ValueError: when the demonstrations are of other contexts.
    """
    trainer.check_task(task)
    config, imitation, update = trainer.config, trainer.config.imitation, trainer.optimiser.num_finished
    rows = task.rollout(
        trainer.policy.eval(),
        num_samples=config.num_samples,
        greedy_baseline=greedy_baseline,
        num_forced_steps=imitation.forced_steps_at(update),
        generator=trainer.optimiser.generator,
        **settings,
    )
    if not imitation.forced_steps and imitation.weight_at(update):
        shown = demonstrations_of(task)(None if rows.group is None else rows.group.unique()).to(rows.action.device)
        if rows.group is not None and rows.context is not None:
            # The rollout may hold more than the task's own context, for instance images that a frozen encoder has seen already.
            shown = shown.replace(context=_context_of(shown, rows))
        rows = concatenate([rows, with_memory_of(rows, shown)])
    return rows.to(trainer.optimiser.device)


def with_memory_of(rows: Trajectory, shown: Trajectory) -> Trajectory:
    """Let demonstrations begin with an empty memory where the policy of other rows has one."""
    if rows.state0 is None or shown.state0 is not None:
        return shown
    return shown.replace(state0=map_tree(lambda leaf: leaf.new_zeros(shown.batch_size, *leaf.shape[1:]), rows.state0))


def _context_of(shown: Trajectory, trajectory: Trajectory) -> Tree:
    """The context that another trajectory's rows of the same groups have."""
    assert trajectory.group is not None
    numbers = torch.full_like(shown.mask[:, 0], -1, dtype=torch.long) if shown.group is None else shown.group
    same = trajectory.group.unsqueeze(0) == numbers.unsqueeze(1)
    if not bool(same.any(dim=1).all()):
        raise ValueError("demonstrations: expected rows with the `group` numbers that were asked for, got others or none; set them")
    first = same.int().argmax(dim=1)
    return map_tree(lambda leaf: leaf[first], trajectory.context)


def imitation_loss(evaluation: Evaluation, weight: float = 1.0, *, label_smoothing: float = 0.0) -> Term:
    """Give the cross-entropy of each step, to be averaged over the demonstrated ones.

    Args:
        evaluation: of rows whose `imitate` names the steps.
        weight: multiplies the average.
        label_smoothing: share of the target's probability that is spread over the actions that can be right.
    """
    return Term(nll(evaluation.logp, evaluation.mean_logp, label_smoothing=label_smoothing), weight, imitated=True)
