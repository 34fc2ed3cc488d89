"""Problems of symbols: what stands on the input tape, and what has to be written; drawn as arrays, a row an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Name = Literal["copy", "reverse", "repeat_copy", "addition"]


@dataclass(frozen=True)
class Instances:
    """N instances of a problem. The symbol K, the alphabet's size, is the blank: it stands where nothing else does, and ends an answer.

    Attributes:
        given: [N, R, C] what the input tape holds from its first cell on; R is 2 for addition, else 1.
        answer: [N, T] what has to be written, a blank at its end and after it.
        num_answered: [N] symbols to be written, the one blank at the end included.
    """

    given: Numbers
    answer: Numbers
    num_answered: Numbers


@dataclass(frozen=True)
class Problem:
    """One of four problems, of a number of symbols.

    With x the symbols given, n of them, the answers are x for "copy", x backwards for "reverse", and x m times for "repeat_copy",
    where a first cell holds m as the symbol m - 1. For "addition" two numbers of n digits stand below each other in base K, the
    lowest digit first; the answer is the n + 1 digits of their sum, the lowest first. A blank ends each answer.

    Attributes:
        name: which one.
        alphabet: K, number of symbols without the blank; the base of addition.
        repeats: largest m of "repeat_copy".

    Source: Zaremba & Sutskever 2015 (Reinforcement learning neural Turing machines), copy, reverse and repeated copy; addition: Zaremba et
    al. 2016 (Learning simple algorithms from examples).
    """

    name: Name
    alphabet: int = 5
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ValueError(f"problem: expected one of {', '.join(get_args(Name))}, got {self.name!r}")
        if self.alphabet < 2:
            raise ValueError(f"alphabet: expected at least 2 symbols, got {self.alphabet}")
        if self.name == "repeat_copy" and not 1 <= self.repeats <= self.alphabet:
            raise ValueError(f"repeats: expected 1 to {self.alphabet}, the symbols of the alphabet that tell it, got {self.repeats}")

    @property
    def num_rows(self) -> int:
        """R, rows of the input tape."""
        return 2 if self.name == "addition" else 1

    def num_given(self, length: int) -> int:
        """Give C, the cells that instances of n = length symbols take."""
        return length + (self.name == "repeat_copy")

    def most_answered(self, length: int) -> int:
        """Give T, the most symbols that an answer to n = length symbols has, its end included."""
        return {"repeat_copy": self.repeats * length, "addition": length + 1}.get(self.name, length) + 1

    def draw(self, lengths: Numbers, longest: int, random: np.random.Generator) -> Instances:
        """Draw instances.

        Args:
            lengths: [N] of their symbols, 1 to `longest`.
            longest: says C and T.
            random: draws symbols and repetitions.
        """
        count, blank, width = len(lengths), self.alphabet, self.most_answered(longest)
        given = random.integers(self.alphabet, size=(count, self.num_rows, longest))
        given[np.broadcast_to(np.arange(longest) >= lengths[:, None, None], given.shape)] = blank
        x, place, n = given[:, 0], np.arange(width), lengths[:, None]
        num_answered = lengths + 1
        if self.name == "addition":
            num_answered = lengths + 2
            answer = _sum(given, lengths, self.alphabet)
        elif self.name == "repeat_copy":
            times = random.integers(1, self.repeats + 1, size=count)
            given = np.concatenate([times[:, None, None] - 1, given], axis=2)
            num_answered = times * lengths + 1
            answer = np.take_along_axis(x, place % n, axis=1)
        else:
            source = n - 1 - place if self.name == "reverse" else np.broadcast_to(place, (count, width))
            answer = np.take_along_axis(x, source.clip(0, longest - 1), axis=1)
        answer[place >= num_answered[:, None] - 1] = blank
        return Instances(given, answer, num_answered)


def _sum(given: Numbers, lengths: Numbers, base: int) -> Numbers:
    """Add both rows of digits [N, 2, C] from the lowest on, carrying; gives [N, C + 2], of which the last digits mean nothing."""
    digits = np.where(given == base, 0, given).sum(axis=1)
    answer = np.zeros((len(lengths), digits.shape[1] + 2), dtype=np.int64)
    for column in range(digits.shape[1]):
        total = digits[:, column] + answer[:, column]
        answer[:, column], answer[:, column + 1] = total % base, total // base
    return answer
