"""Exact match, edit distance and word error rate: how far a sentence is from the nearest of its references, word by word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import edit_kernels
from seqrl.metrics.item_texts import PreparedItems, mean, require_some, score_items
from seqrl.metrics.rows import WordNumbers, split_words
from seqrl.metrics.text_scores import Sentence, checked_references, checked_sentences

_UNKNOWN = -1


@dataclass(frozen=True)
class ExactMatch:
    """Scores 1 where a sentence has the words of a reference, in their order, else 0.

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.
    """

    bound: ClassVar[float] = 1.0
    higher_is_better: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "exact-match", {}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        return score_items(hypotheses, references, _sentences, _is_one_of)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the share of the hypotheses that match."""
        return mean(self.score(hypotheses, references))

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Read references once; the result scores batches."""
        checked_references(references)
        return PreparedItems([_sentences(sentences) for sentences in references], _is_one_of)


@dataclass(frozen=True)
class EditDistance:
    """Levenshtein distance in words to the nearest reference: insertions, deletions and exchanges; 0 is best.

    D(i, j) = min(D(i-1, j) + 1, D(i, j-1) + 1, D(i-1, j-1) + [a_i != b_j])

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.

    Source: Levenshtein 1966 (Binary codes capable of correcting deletions, insertions, and reversals).
    """

    bound: ClassVar[float] = math.inf
    higher_is_better: ClassVar[bool] = False

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "edit-distance", {}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Count the edits to the nearest reference, [N] float64; an empty hypothesis misses all of its words."""
        return score_items(hypotheses, references, NumberedReferences, lambda words, item: float(min(item.edits(words))))

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Average the distances."""
        return mean(self.score(hypotheses, references))

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Number the words of references once; the result scores batches."""
        checked_references(references)
        return PreparedItems([NumberedReferences(sentences) for sentences in references], lambda words, item: float(min(item.edits(words))))


@dataclass(frozen=True)
class WordErrorRate:
    """Edits to a reference over its number of words, the least over the references; 0 is best, and much too long a sentence is above 1.

    WER = (insertions + deletions + exchanges) / words of the reference

    The corpus score divides all edits by all words of the references that were nearest.

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.

    Source: Levenshtein 1966 (Binary codes capable of correcting deletions, insertions, and reversals), the edits.
    """

    bound: ClassVar[float] = math.inf
    higher_is_better: ClassVar[bool] = False

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "WER", {}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Rate each hypothesis, [N] float64; an empty one scores 1."""
        return score_items(hypotheses, references, NumberedReferences, _error_rate)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give all edits over all words of the references that were nearest."""
        checked_sentences(hypotheses, references)
        counts = [NumberedReferences(rows).nearest(words) for words, rows in zip(hypotheses, references, strict=True)]
        require_some(len(counts))
        return sum(edits for edits, _ in counts) / sum(length for _, length in counts)

    def statistics(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Count edits to the nearest reference and its words, [N, 2]; the corpus score is made of their sums."""
        checked_sentences(hypotheses, references)
        return np.array([NumberedReferences(rows).nearest(words) for words, rows in zip(hypotheses, references, strict=True)], np.float64)

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums [B, 2]."""
        return sums[:, 0] / sums[:, 1]

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Number the words of references once; the result scores batches."""
        checked_references(references)
        return PreparedItems([NumberedReferences(sentences) for sentences in references], _error_rate)


class NumberedReferences:
    """The references of one item as numbers of words, which the compiled loop compares.

    Args:
        sentences: tokenised strings or lists of words.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        numbers = WordNumbers()
        self.rows = [np.array([numbers[word] for word in split_words(sentence)], np.int64) for sentence in sentences]
        self.numbers = dict(numbers)

    def edits(self, sentence: Sentence) -> list[int]:
        """Count the edits to each reference."""
        words = np.array([self.numbers.get(word, _UNKNOWN) for word in split_words(sentence)], np.int64)
        return [int(edit_kernels.edits_between(words, row)) for row in self.rows]

    def nearest(self, sentence: Sentence) -> tuple[int, int]:
        """Give edits and number of words of the reference with the least edits a word; of equal ones the shortest."""
        return min(zip(self.edits(sentence), map(len, self.rows), strict=True), key=lambda counts: (counts[0] / counts[1], counts[1]))


def _error_rate(sentence: Sentence, item: NumberedReferences) -> float:
    edits, length = item.nearest(sentence)
    return edits / length


def _sentences(sentences: Sequence[Sentence]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(split_words(sentence)) for sentence in sentences)


def _is_one_of(sentence: Sentence, sentences: frozenset[tuple[str, ...]]) -> float:
    return float(tuple(split_words(sentence)) in sentences)
