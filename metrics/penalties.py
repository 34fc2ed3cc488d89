"""What a reward charges for: a length that is not that of a reference, and saying the same again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import PreparedItems, mean, score_items
from seqrl.metrics.rows import split_words
from seqrl.metrics.text_scores import Sentence, checked_references


@dataclass(frozen=True)
class LengthError:
    """Words too many or too few, over the words of the reference that is nearest in length: |c - r| / r; 0 is best.

    Args:
        free: share of r that costs nothing.

    Raises:
        ValueError: when free is below 0; for an item without references or an empty reference.
    """

    free: float = 0.0
    bound: ClassVar[float] = math.inf
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a share below 0."""
        if not 0 <= self.free < math.inf:
            raise ValueError(f"free: expected a share of 0 or more, got {self.free}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "length-error", {"free": self.free} if self.free else {}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Rate each hypothesis, [N] float64."""
        return score_items(hypotheses, references, _lengths, self._error)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Average the errors."""
        return mean(self.score(hypotheses, references))

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Count the words of references once; the result scores batches."""
        checked_references(references)
        return PreparedItems(list(map(_lengths, references)), self._error)

    def _error(self, sentence: Sentence, lengths: list[int]) -> float:
        length = len(split_words(sentence))
        return max(0.0, min(abs(length - each) / each for each in lengths) - self.free)


@dataclass(frozen=True)
class Repetition:
    """Share of a text's n-grams that stood in it before: 1 - different n-grams / n-grams; 0 is best, and 0 where there is none.

    Args:
        n: words of an n-gram.

    Raises:
        ValueError: when n is below 1.

    Source: Welleck et al. 2020 (Neural text generation with unlikelihood training), seq-rep-n.
    """

    n: int = 2
    bound: ClassVar[float] = 1.0
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse n-grams without a word."""
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 word, got {self.n}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "repetition", {"n": self.n}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Rate each hypothesis, [N] float64; what stands in the references does not count."""
        return score_items(hypotheses, references, lambda _: None, self._share)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Average the shares."""
        return mean(self.score(hypotheses, references))

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Keep nothing of the references but their number."""
        checked_references(references)
        return PreparedItems([None] * len(references), self._share)

    def _share(self, sentence: Sentence, _: None) -> float:
        words = split_words(sentence)
        grams = [tuple(words[place : place + self.n]) for place in range(len(words) - self.n + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _lengths(sentences: Sequence[Sentence]) -> list[int]:
    return [len(split_words(sentence)) for sentence in sentences]
