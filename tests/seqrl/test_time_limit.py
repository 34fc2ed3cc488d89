from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from seqrl.time_limit import time_limit


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_for_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            process.wait()
        finally:
            process.kill()


HANGS = [spin, sleep, wait_for_a_lock, wait_for_a_process]


@pytest.mark.parametrize("hang", HANGS, ids=lambda hang: hang.__name__)
def test_whatever_hangs_is_given_up(hang: Callable[[], None]) -> None:
    start, before = time.monotonic(), signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"the reward \(task.reward.timeout_s\) did not answer for 0.05 seconds"):
        with time_limit(0.05, "the reward (task.reward.timeout_s)"):
            hang()
    assert time.monotonic() - start < 30 and signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_swallows_it_gets_it_again() -> None:
    count = 0
    with pytest.raises(TimeoutError), time_limit(0.03, "it"):
        while True:
            try:
                time.sleep(60)
            except TimeoutError:
                count += 1
                if count == 3:
                    raise


def test_what_answers_in_time_is_left_alone_and_so_is_an_alarm_around_it() -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with time_limit(30.0, "it"):
            time.sleep(0.02)
        assert not rung
        time.sleep(0.2)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_without_a_limit_or_elsewhere_than_in_the_main_thread_there_is_none() -> None:
    done = []

    def work() -> None:
        with time_limit(0.01, "it"):
            time.sleep(0.05)
            done.append(1)

    with time_limit(0.0, "it"):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
