"""Rewards that are computed in the background while the next rows are sampled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from seqrl.trajectory import Trajectory


class WithoutReward(Protocol):
    """What was sampled, before its reward is known."""

    @property
    def settings(self) -> tuple[Any, ...]:
        """What was asked for when it was sampled."""

    def rewarded(self, score: Callable[..., Any]) -> Trajectory:
        """Score it, and give it with its rewards."""

    def state_dict(self) -> dict[str, Any]:
        """Give it as plain tensors."""


Sampled = TypeVar("Sampled", bound=WithoutReward)


def _begin(work: Callable[[], Trajectory], after: Future[Trajectory] | None) -> Future[Trajectory]:
    """Let a thread do some work, once a work before it has ended, so that only one runs at a time."""
    found: Future[Trajectory] = Future()

    def run() -> None:
        if after is not None:
            wait([after])
        try:
            found.set_result(work())
        except BaseException as error:  # it is raised where the result is asked for
            found.set_exception(error)

    # A daemon, since a score that hangs must not keep the program from its end.
    threading.Thread(target=run, daemon=True, name="reward ahead").start()
    return found


class RewardsAhead(Generic[Sampled]):
    """Gives each batch one call after it was sampled: its reward is computed while the one before is learned from and the next is sampled.

    A trainer then learns from rows that the policy of one update before has sampled, and has to weigh them (see
    `seqrl.trainers.importance_weights.RowRatios`). What a call gives depends on the order of calls alone, never on how long a score takes.

    Args:
        score: gives the scores of rows; called in a thread.
        of_state: makes of its `state_dict` what was sampled.
        timeout_s: seconds that a call waits for a score; 0 for ever.

    Attributes:
        waited_s: seconds that calls have waited for scores so far.
    """

    def __init__(self, score: Callable[..., Any], of_state: Callable[[Mapping[str, Any]], Sampled], timeout_s: float) -> None:
        self._score, self._of_state, self._timeout_s = score, of_state, timeout_s
        self._waiting: list[Sampled] = []  # oldest first
        self._jobs: list[Future[Trajectory]] = []  # of the first of them
        self._last: Future[Trajectory] | None = None
        self._number = 0
        self.waited_s = 0.0

    def next(self, sample: Callable[[], Sampled], settings: tuple[Any, ...]) -> Trajectory:
        """Sample a batch, two at the first call, and give the oldest one with its rewards.

        Args:
            sample: gives what is scored one call later.
            settings: what is asked for.

        Raises:
            ValueError: when what waits was sampled with other settings.
            TimeoutError: when its score does not come in time.
            BaseException: what its score raised; the batch then waits to be scored again.
        """
        if others := [each.settings for each in self._waiting if each.settings != settings]:
            raise ValueError(
                f"reward.ahead: the next rows were sampled already, with {others[0]}, and now {settings} is asked for; ask for "
                "the same each time, or set reward.ahead=0"
            )
        self._begin_scores()
        while len(self._waiting) < 2:
            self._waiting.append(sample())
            self._begin_scores()
        start = time.perf_counter()
        try:
            if not wait(self._jobs[:1], self._timeout_s or None).done:
                raise TimeoutError(f"the reward of the batch before (reward.timeout_s) did not answer for {self._timeout_s:g} seconds")
            rows = self._jobs[0].result()
        except BaseException as error:
            error.add_note(f"in the reward of batch {self._number + 1}, which is computed while the next one is sampled")
            self._jobs = []
            raise
        finally:
            self.waited_s += time.perf_counter() - start
        del self._waiting[0], self._jobs[0]
        self._number += 1
        return rows

    def _begin_scores(self) -> None:
        for sampled in self._waiting[len(self._jobs) :]:
            self._last = _begin(partial(sampled.rewarded, self._score), self._last)
            self._jobs.append(self._last)

    def state_dict(self) -> dict[str, Any]:
        """Give how many batches have been given, and those that wait, without their rewards."""
        return {"number": self._number, "waiting": [each.state_dict() for each in self._waiting]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state; the scores of what waits begin with the next call."""
        self._number, self._waiting, self._jobs = state["number"], [self._of_state(each) for each in state["waiting"]], []
