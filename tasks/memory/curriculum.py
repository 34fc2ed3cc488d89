"""A curriculum over lengths: up to just above what is mastered, at times anything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ANY = 0.1  # share of the instances that are of any length
MASTERED, KEPT = 0.9, 0.98  # share of answers that are to be right, and how much of its moving average stays with each answer


class Curriculum:
    """Draws lengths up to one above a level, and raises the level when nine of ten answers of that length are right.

    A tenth of the lengths is drawn evenly from shortest..longest, the others from shortest..level + 1. The share of right answers is a
    moving average over answers of the level's length, which begins at 0 with each level: s <- 0.98 s + 0.02 [right].

    Attributes:
        state: [2] the level, and s.

    Args:
        shortest: length, the first level.
        longest: length, the last level.
        rising: False draws from shortest..longest evenly, always.

    Source: Zaremba & Sutskever 2015 (Reinforcement learning neural Turing machines), curriculum learning.
    Differs from: the paper in its shares of lengths and in when the level rises. With most instances at the level itself an LSTM learned
    what serves for this length alone (docs/log.md).
    """

    def __init__(self, shortest: int, longest: int, *, rising: bool = True) -> None:
        self.shortest, self.longest = shortest, longest
        self.state = np.array([shortest if rising else longest, 0.0])

    @property
    def level(self) -> int:
        """The length that is to be mastered next."""
        return int(self.state[0])

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw lengths, [count]."""
        anywhere = random.integers(self.shortest, self.longest + 1, size=count)
        near = random.integers(self.shortest, min(self.level + 1, self.longest) + 1, size=count)
        return np.where(random.random(count) < ANY, anywhere, near)

    def note(self, lengths: NDArray[np.int64], right: NDArray[Any]) -> None:
        """Learn which answers [N] to instances of which lengths [N] were right as a whole."""
        for solved in right[lengths == self.level]:
            self.state[1] = KEPT * self.state[1] + (1 - KEPT) * bool(solved)
        if self.state[1] > MASTERED and self.level < self.longest:
            self.state[:] = self.level + 1, 0.0
