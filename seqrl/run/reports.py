"""What a command says: how a run ended, why one failed, and what a signal would leave behind."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from seqrl.failures import EnvironmentFailed, OutOfMemory, ProcessLost, RewardFailed
from seqrl.run.interrupt import current_command, exit_code, resume_command

if TYPE_CHECKING:
    from seqrl.run.loop import RunResult

EXIT_BAD_INPUT, EXIT_FAILED = 2, 1
MOST_CHARACTERS = 4000  # of an error's text; what it quotes may come from anybody


def say_failed(error: Exception) -> int:
    """Say why a command failed; give its exit code."""
    text, notes = str(error), getattr(error, "__notes__", [])
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe, such as head, has seen enough.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    if isinstance(error, ValueError | OSError):
        if len(text) > MOST_CHARACTERS:
            text = f"{text[: MOST_CHARACTERS // 2]} ... ({len(text)} characters) ... {text[-MOST_CHARACTERS // 2 :]}"
        print("\n  ".join([f"seqrl: {text}", *notes]), file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, EnvironmentFailed | OutOfMemory | ProcessLost | RewardFailed):
        # Not a fault of this package, so its traceback tells nothing.
        print("; ".join([f"seqrl: {text}", *notes]), file=sys.stderr)
    else:
        traceback.print_exception(error)
    return EXIT_FAILED


def hint(text: str) -> None:
    """Set what is said when a signal ends the command from here on."""
    command = current_command()
    if command is not None:
        command.hint = text
        command.check()


def report(result: RunResult, left: str = "") -> int:
    """Say how a run ended, and draw its curves; give the exit code.

    Args:
        result: of the run.
        left: what remains to be done after it, for somebody who ends the command.
    """
    from seqrl.distributed import is_main

    if result.interrupted:
        if is_main():
            going_on = f"`{resume_command(result.run_folder)}` goes on{', ' if left else ''}{left}"
            print(f"seqrl: interrupted after update {result.step}; {going_on}", file=sys.stderr)
        return exit_code(result.interrupted)
    hint(f"{result.run_folder} is finished{', ' if left else ''}{left}")
    if not is_main():
        return 0
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in result.evaluation.items())
    ended = f"stopped early after update {result.step}, best at {result.best_step}" if result.stopped_early else f"{result.step} updates"
    print(f"{result.run_folder}: {ended}  {metrics}".rstrip())
    if result.run_folder is not None and result.step > 1:  # a single point is no curve
        from seqrl.run.plots import run_curves

        try:
            print(run_curves(result.run_folder))
        except OSError as error:  # the run is whole all the same
            print(f"seqrl: the curves could not be drawn: {error}", file=sys.stderr)
    return 0
