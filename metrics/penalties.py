"""What a reward charges for: a length that is not that of a reference, and saying the same again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seqrl.metrics.item_texts import mean_of_scores, prepare_items, score_items
from seqrl.metrics.rows import split_words
from seqrl.metrics.text_scores import Sentence


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

    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items

    def read_item(self, sentences: Sequence[Sentence]) -> list[int]:
        """Count the words of references."""
        return [len(split_words(sentence)) for sentence in sentences]

    def score_one(self, sentence: Sentence, item: list[int]) -> float:
        """Compare the words with those of the nearest reference."""
        length = len(split_words(sentence))
        return max(0.0, min(abs(length - each) / each for each in item) - self.free)


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

    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items

    def read_item(self, sentences: Sequence[Sentence]) -> None:
        """Keep nothing: what stands in the references does not count."""

    def score_one(self, sentence: Sentence, item: None) -> float:
        """Count n-grams and different ones."""
        words = split_words(sentence)
        grams = [tuple(words[place : place + self.n]) for place in range(len(words) - self.n + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0
