"""Steps that would put numbers into the weights that are not finite: left out, counted, and too many of them end the run."""

from __future__ import annotations

from seqrl.failures import NoStepTaken

ADVICE = "Look at the logged rewards and gradient norms, lower the learning rate, or resume from an earlier checkpoint with --checkpoint"


class SkippedSteps:
    """Counts the updates in a row none of whose steps was taken, since a loss or gradient was not finite.

    An update may take many steps, and one bad row can spoil them all; so what is counted are updates.

    Args:
        most: so many in a row end the run; 0: the first step that is skipped does.
        in_a_row: counted so far.
    """

    def __init__(self, most: int, in_a_row: int = 0) -> None:
        self.most, self.in_a_row = most, in_a_row
        self.taken = False
        self._trouble = ""

    def skip(self, trouble: str, *, counts: bool = True) -> None:
        """Note that a step of the present update is skipped.

        Args:
            trouble: what is not finite.
            counts: False where that is to be expected, as while a loss scale adapts.

        Raises:
            NoStepTaken: when none is to be skipped.
        """
        if counts:
            self._trouble = trouble
            if not self.most:
                raise NoStepTaken(f"{trouble}; expected a finite number. {ADVICE}")

    def finish_update(self) -> None:
        """Count the update that ends.

        Raises:
            NoStepTaken: when it is one too many.
        """
        trouble, taken = self._trouble, self.taken
        self._trouble, self.taken = "", False
        if taken:
            self.in_a_row = 0
        elif trouble:
            self.in_a_row += 1
            if self.in_a_row >= self.most:
                raise NoStepTaken(
                    f"{trouble}; expected a finite number, and no step of the last {self.in_a_row} updates could be taken "
                    f"(optimiser.max_skipped_updates). {ADVICE}"
                )
