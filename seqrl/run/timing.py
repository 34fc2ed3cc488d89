"""Where the time goes: sampling, reward, update, and how fast rows come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Measures the parts of the loop between two lines of the log.

    Args:
        task: its `seconds_in_reward`, where it has one, is the cumulative time spent on rewards inside of collecting.
        elapsed_s: seconds that earlier parts of the run took.
        train_s: those of them spent collecting and updating.

    Attributes:
        last_s: seconds that each part took when it was last done.
        train_s: seconds spent collecting and updating since the run began.
    """

    def __init__(self, task: Any, elapsed_s: float = 0.0, train_s: float = 0.0) -> None:
        self.last_s: dict[str, float] = {}
        self.train_s = train_s
        self._task = task
        self._start = time.perf_counter() - elapsed_s
        self._clear()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began, pauses left out."""
        return time.perf_counter() - self._start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what happens inside as the part `name`."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Take what the part `name` took."""
        self.last_s[name] = seconds
        self._total_s[name] = self._total_s.get(name, 0.0) + seconds
        if name in ("collect", "update"):
            self.train_s += seconds

    def count(self, num_samples: int, num_actions: int) -> None:
        """Count collected rows and actions."""
        self._num_samples += num_samples
        self._num_actions += num_actions

    def metrics(self) -> dict[str, float]:
        """Give shares of the time of the updates since the last call, and the rates; then start anew."""
        collect, update = self._total_s.get("collect", 0.0), self._total_s.get("update", 0.0)
        reward = min(self._reward_s() - self._reward_start, collect)
        total = max(collect + update, 1e-9)
        metrics = {
            "time/collect_share": (collect - reward) / total,
            "time/reward_share": reward / total,
            "time/update_share": update / total,
            "time/samples_per_second": self._num_samples / total,
            "time/actions_per_second": self._num_actions / total,
        }
        self._clear()
        return metrics

    def _reward_s(self) -> float:
        return float(getattr(self._task, "seconds_in_reward", 0.0))

    def _clear(self) -> None:
        self._total_s: dict[str, float] = {}
        self._num_samples = self._num_actions = 0
        self._reward_start = self._reward_s()
