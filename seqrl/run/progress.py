"""How far a run is, and what happens after how many updates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from seqrl.run.config import EarlyStop
from seqrl.run.registry import nearest


@dataclass
class Progress:
    """How far a run is; saved in its checkpoints.

    Attributes:
        step: updates done.
        num_samples: rows collected, by all processes.
        num_actions: actions collected that counted, or were imitated.
        elapsed_s: seconds spent in the loop, those of earlier parts of the run included.
        train_s: those of them spent collecting and updating.
        evaluated_step: step of the last evaluation; -1 before the first.
        evaluation: its metrics.
        evaluations: the metrics of every evaluation so far.
        best_value: best value of the watched metric; None before the first evaluation.
        best_step: where it was reached.
        num_stale: evaluations since then.
        stopped_early: whether patience ran out.
        gathered: metrics that are in no line of the log yet, see `seqrl.run.metric_accumulator`.
        lasting: what `seqrl.run.run_warnings` remembers.
    """

    step: int = 0
    num_samples: int = 0
    num_actions: int = 0
    elapsed_s: float = 0.0
    train_s: float = 0.0
    evaluated_step: int = -1
    evaluation: dict[str, float] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_value: float | None = None
    best_step: int = -1
    num_stale: int = 0
    stopped_early: bool = False
    gathered: dict[str, Any] = field(default_factory=dict)
    lasting: dict[str, float] = field(default_factory=dict)

    def take_evaluation(self, metrics: dict[str, float], stop: EarlyStop | None) -> dict[str, float]:
        """Note the metrics of an evaluation, keep the best, count how long it has not improved; give what a line says of that.

        Raises:
            ValueError: when the watched metric is not among them.
        """
        self.evaluation, self.evaluated_step = metrics, self.step
        self.evaluations.append(metrics)
        if stop is None:
            return {}
        if stop.metric not in metrics:
            known = ", ".join(sorted(metrics))
            raise ValueError(f"early_stop.metric: the task evaluates no {stop.metric!r}; {nearest(stop.metric, metrics)} It gives {known}")
        value = metrics[stop.metric]
        if self.best_value is None or _better(value, self.best_value, stop.mode):
            self.best_value, self.best_step, self.num_stale = value, self.step, 0
        elif self.step > 0:
            self.num_stale += 1
        self.stopped_early = self.is_out_of_patience(stop)
        return {f"dev/best_{stop.metric}": self.best_value}

    def is_out_of_patience(self, stop: EarlyStop | None) -> bool:
        """Say whether the watched metric has not improved for too many evaluations."""
        return stop is not None and stop.patience is not None and self.num_stale >= stop.patience


def _better(value: float, best: float, mode: str) -> bool:
    return not math.isnan(value) and (math.isnan(best) or (value > best if mode == "max" else value < best))


@dataclass(frozen=True)
class Intervals:
    """Says what happens after how many updates.

    Attributes:
        num_updates: updates in all; after the last one everything is due that ever is.
        eval_every: updates between evaluations; 0 for none.
        save_every: updates between checkpoints; 0 for none but that at the end.
        save_minutes: minutes without a checkpoint after which one is saved; 0 for never.
        log_every: updates between lines of training stats; 0 for none.
    """

    num_updates: int
    eval_every: int
    save_every: int
    save_minutes: float
    log_every: int

    def evaluation(self, progress: Progress) -> bool:
        """Say whether to evaluate, which is done before the first update, too."""
        return progress.evaluated_step != progress.step and self._every(progress.step, self.eval_every)

    def saving(self, step: int) -> bool:
        """Say whether to save."""
        return step == self.num_updates or (step > 0 and self._every(step, self.save_every))

    def late(self, unsaved_s: float) -> bool:
        """Say whether so many seconds without a checkpoint are too many."""
        return 0 < 60 * self.save_minutes <= unsaved_s

    def logging(self, step: int) -> bool:
        """Say whether to write a line."""
        return self._every(step, self.log_every)

    def _every(self, step: int, period: int) -> bool:
        return period > 0 and (step % period == 0 or step == self.num_updates)
