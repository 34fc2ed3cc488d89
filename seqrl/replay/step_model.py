"""A model of a world with numbered states: what came of each action in each state, and how often."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from itertools import accumulate


class StepModel:
    """Estimates P(r, s' | s, a) by n(s, a, r, s') / n(s, a), the share of the times that it came.

    Source: Sutton 1990 (Integrated architectures for learning, planning, and reacting based on approximating dynamic programming).
    Differs from: Sutton's Dyna-Q, whose model holds what came last, which is enough where chance plays no part.
    """

    def __init__(self) -> None:
        self._met: list[tuple[int, int]] = []
        self._came: dict[tuple[int, int], Counter[tuple[float, int]]] = {}

    def add(self, state: int, action: int, reward: float, following: int, count: int = 1) -> None:
        """Count a step; -1 follows where the episode ended."""
        if (state, action) not in self._came:
            self._met.append((state, action))
            self._came[state, action] = Counter()
        self._came[state, action][reward, following] += count

    def draw(self, pair: float, outcome: float) -> tuple[int, int, float, int]:
        """Give a step: a state and an action, drawn evenly from those met, and what came of them, drawn by its share.

        Args:
            pair: a random number in [0, 1) that draws state and action.
            outcome: another that draws what came.
        """
        state, action = self._met[int(pair * len(self._met))]
        came = self._came[state, action]
        place = bisect(list(accumulate(came.values())), outcome * came.total())
        return state, action, *list(came)[place]

    def rows(self) -> list[tuple[int, int, float, int, int]]:
        """Give all steps with their counts, as `add` takes them, in an order that makes the same model."""
        return [(*met, *step, count) for met in self._met for step, count in self._came[met].items()]
