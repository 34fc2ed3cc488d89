"""Ends what does not answer: a reward that waits for a server, say."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise a TimeoutError inside of a block that takes longer, and again as often as somebody swallows it.

    Where there are no alarms, see `alarms`, there is no limit.

    Args:
        seconds: the limit; 0 for none.
        what: what takes so long and which setting says so, for the error.

    Raises:
        TimeoutError: "`what` did not answer for ... seconds".
    """

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError(f"{what} did not answer for {seconds:g} seconds")

    with alarms(seconds, ring):
        yield


@contextmanager
def alarms(seconds: float, ring: Callable[[int, Any], None]) -> Iterator[None]:
    """Call a function again and again inside of a block; what it raises is raised there.

    An alarm interrupts whatever comes back to Python's interpreter now and then: loops, sleep, sockets, locks, waiting for a process. Code
    that never does cannot be interrupted; and only the main thread has alarms, so elsewhere nothing is called.

    Args:
        seconds: from one call to the next; 0 for no calls.
        ring: as `signal.signal` takes it.
    """
    if not seconds or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    begin = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left_s, period_s = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left_s:  # the alarm of somebody around us rings when it would have
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left_s - (time.monotonic() - begin)), period_s)
