"""Training stages beside each other, a process each, which end together: all well, or all stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqrl.run.interrupt import current_command

# A child saves within one update and one evaluation; whatever takes longer has no checkpoint to lose.
PATIENCE_S = 60.0
MESSAGE_LINES = 25


class StageFailed(Exception):
    """A stage ended by itself before it was done; the text is what it said."""


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        name: of its folder.
        command: program and arguments.
        log: the file that takes what the process prints.
    """

    name: str
    command: Sequence[str]
    log: Path


def run_side_by_side(stages: Sequence[Stage], watch: Callable[[], None], *, period_s: float = 0.25) -> None:
    """Run stages at once until all are done, or until an exception such as a signal's ends all of them, after a checkpoint.

    Each process has a session of its own, so that Ctrl-C on the terminal reaches this process alone, which hands it on: once, whether
    it came from the terminal or from `kill`. A process that loses this one, for instance to a second signal, ends as well.

    Args:
        stages: what to run.
        watch: called every period, to show what goes on.
        period_s: seconds between two looks.

    Raises:
        StageFailed: when one ended badly.
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        for stage in stages:
            stage.log.parent.mkdir(parents=True, exist_ok=True)
            with stage.log.open("wb") as log:
                # Standard input is never written to: its end tells the child that we are gone.
                child = subprocess.Popen(stage.command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            children.append(child)
        while any([child.poll() is None for child in children]):
            _refuse_failed(stages, children)
            watch()
            time.sleep(period_s)
            check_signal()
        _refuse_failed(stages, children)
        watch()
    finally:
        end(children)


def check_signal() -> None:
    """Raise where a signal has come whose exception was swallowed, in a callback of the import system for instance."""
    command = current_command()
    if command is not None:
        command.check()


def end(children: Sequence[subprocess.Popen[bytes]], patience_s: float = PATIENCE_S) -> None:
    """Ask processes to save and end, wait for them, and kill what does not.

    Args:
        children: those that have ended already are left in peace.
        patience_s: seconds to wait.
    """
    deadline = time.monotonic() + patience_s
    if any([child.poll() is None for child in children]):
        print("\nwaiting for the training to save and end; once more to end at once", file=sys.stderr, flush=True)
    for child in children:
        if child.poll() is None:
            child.terminate()  # not SIGINT, which a shell may have told background jobs to ignore
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()


def _refuse_failed(stages: Sequence[Stage], children: Sequence[subprocess.Popen[bytes]]) -> None:
    for stage, child in zip(stages, children, strict=True):
        if child.poll():
            lines = stage.log.read_text(encoding="utf-8", errors="replace").splitlines()[-MESSAGE_LINES:] or ["(it said nothing)"]
            raise StageFailed("\n  ".join([f"the stage {stage.name} ended with code {child.returncode}:", *lines]))
