"""What happened between two lines of the log: nothing of it is lost, though not every update has a line."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


class MetricAccumulator:
    """Gathers metrics until they are written.

    How a key is put together goes by its group:

    - `progress/`: a count that only grows; the newest one, summed over the processes.
    - `episode/count`: the sum; `episode/..._max`: the largest; any other of `episode/`: the mean over all episodes.
    - all else: the mean over the updates that gave it.

    Args:
        state: what `state_dict` gave, to go on from.

    Attributes:
        counts: those under `progress/`.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = deepcopy(dict(state or {}))
        self._sums: dict[str, list[float]] = state.get("sums", {})
        self._episodes, self.counts, self._carried = (dict[str, float](state.get(name, {})) for name in ("episodes", "counts", "carried"))

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one update."""
        # Once an update, and there may be a hundred thousand: no more than a few lookups a key.
        sums = self._sums
        for key, value in metrics.items():
            entry = sums.setdefault(key, [0.0, 0.0])
            entry[0] += float(value)
            entry[1] += 1.0

    def carry(self, *parts: Mapping[str, float]) -> None:
        """Keep what processes have counted that are no longer there.

        Args:
            parts: what `pop_metrics` gives in each process that goes on, before anything more is counted.
        """
        self._carried = {key: total - sum(metrics.get(key, 0.0) for metrics in parts) for key, total in self.counts.items()}

    def add_popped(self, *parts: Mapping[str, float]) -> None:
        """Take what `pop_metrics` of the task gave in each process: episodes that ended since it was last asked, and counts."""
        counts = {key for metrics in parts for key in metrics if key.startswith("progress/")}
        self.counts |= {key: self._carried.get(key, 0.0) + sum(metrics.get(key, 0.0) for metrics in parts) for key in counts}
        for metrics in parts:
            self._add_episodes({key: float(value) for key, value in metrics.items() if key.startswith("episode/")})
            self.add({key: value for key, value in metrics.items() if not key.startswith(("episode/", "progress/"))})

    def _add_episodes(self, episodes: Mapping[str, float]) -> None:
        number = episodes.get("episode/count", 0.0)
        if not number:
            return
        before = self._episodes.get("episode/count", 0.0)
        for key, value in episodes.items():
            earlier = self._episodes.get(key)
            if earlier is None:
                self._episodes[key] = value
            elif key == "episode/count":
                self._episodes[key] = earlier + value
            elif key.endswith("_max"):
                self._episodes[key] = max(earlier, value)
            else:
                self._episodes[key] = (earlier * before + value * number) / (before + number)

    def pop(self) -> dict[str, float]:
        """Give what was gathered, and start anew; counts stay."""
        metrics = {key: total / number for key, (total, number) in self._sums.items()} | self._episodes
        self._sums, self._episodes = {}, {}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Give all that was gathered as plain data."""
        return deepcopy({"sums": self._sums, "episodes": self._episodes, "counts": self.counts, "carried": self._carried})
