"""What ends a run through no fault of its own code."""

from __future__ import annotations

import traceback
from pathlib import Path

# How long one process waits for another by default; while the main one evaluates or saves, the others wait for longer.
TIMEOUT_S = 600.0
# The variable by which `seqrl --num_processes` tells the processes that it starts its own number.
LAUNCHER = "SEQRL_LAUNCHER"


class EnvironmentFailed(RuntimeError):  # an exception can only inherit
    """An environment raised, hung or gave numbers that are not finite; the text says which, and where in its episode."""


class ProcessLost(RuntimeError):  # an exception can only inherit
    """Another process of the run has ended, or did not come to where this one waited; the text says which."""


class RewardFailed(RuntimeError):  # an exception can only inherit
    """A reward function of somebody's own raised or ended in a process of its own; the text says what it said, and for which captions."""


class OutOfMemory(RuntimeError):  # an exception can only inherit
    """The device has too little memory; the text says for what, and which settings to change."""


class NoStepTaken(ValueError):  # an exception can only inherit
    """No optimiser step could be taken for too long; raised by all processes of a run alike, so that they can save together."""


def describe(error: BaseException) -> str:
    """Put what an environment raised into one line, with the place in its code, since no traceback follows.

    Args:
        error: just caught.
    """
    if isinstance(error, EnvironmentFailed):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    # An alarm rings in our own code, wherever the environment hangs.
    if not frames or isinstance(error, TimeoutError):
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
