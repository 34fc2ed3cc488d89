"""At which updates a run evaluates, saves and logs."""

from __future__ import annotations

from dataclasses import dataclass

from seqrl.run.progress import Progress


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
