"""Notices an environment that no longer answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqrl.sources import VectorEnvSource
from seqrl.time_limit import alarms


@contextmanager
def watched(source: VectorEnvSource, timeout_s: float) -> Iterator[None]:
    """Interrupt an environment's step that takes longer than `timeout_s`, at the latest after twice that time.

    An alarm rings every `timeout_s` and looks whether the same step as at the last one is still being taken, so that the
    steps themselves cost nothing more. Where there are no alarms, see `seqrl.time_limit.alarms`, there is no watch.

    Args:
        source: what is watched.
        timeout_s: seconds; 0 for no watch.

    Raises:
        EnvironmentFailed: from the source, naming the environment, and the row where that can be known.
    """
    last = None

    def ring(number: int, frame: Any) -> None:
        nonlocal last
        now = source.num_calls if source.stepping else None
        if now is not None and now == last:
            raise TimeoutError(f"no answer for {timeout_s:g} seconds (task.step_timeout_s){_silent_rows(source.envs)}")
        last = now

    with alarms(timeout_s, ring):
        yield


def _silent_rows(envs: Any) -> str:
    """Name the processes of an AsyncVectorEnv that have not answered."""
    pipes = getattr(envs.unwrapped, "parent_pipes", None) or ()
    silent = [str(row) for row, pipe in enumerate(pipes) if pipe is not None and not pipe.poll(0)]
    return f"; not from row {', '.join(silent)}" if silent else ""
