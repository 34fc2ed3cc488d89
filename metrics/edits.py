"""Exact match, edit distance and word error rate: how far a sentence is from the nearest of its references, word by word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import sequence_kernels
from seqrl.metrics.item_texts import corpus_score_of_statistics, mean_of_scores, prepare_items, score_items
from seqrl.metrics.rows import WordNumbers, split_words
from seqrl.metrics.text_scores import References, Sentence, checked_sentences

_UNKNOWN = -1


@dataclass(frozen=True)
class ExactMatch:
    """Scores 1 where a sentence has the words of a reference, in their order, else 0.

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.
    """

    bound: ClassVar[float] = 1.0
    described: ClassVar[tuple[str, dict[str, Any]]] = ("exact-match", {})
    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items

    def read_item(self, sentences: Sequence[Sentence]) -> frozenset[tuple[str, ...]]:
        """Give the sentences to be met."""
        return frozenset(tuple(split_words(sentence)) for sentence in sentences)

    def score_one(self, sentence: Sentence, item: frozenset[tuple[str, ...]]) -> float:
        """Look for the sentence among the item's."""
        return float(tuple(split_words(sentence)) in item)


def _number_words(self: Any, sentences: Sequence[Sentence]) -> NumberedReferences:
    """Number the words of references."""
    return NumberedReferences(sentences)


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
    described: ClassVar[tuple[str, dict[str, Any]]] = ("edit-distance", {})
    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items
    read_item = _number_words

    def score_one(self, sentence: Sentence, item: NumberedReferences) -> float:
        """Count the edits to the nearest reference; an empty hypothesis misses all of its words."""
        return float(min(item.edits(sentence)))


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
    described: ClassVar[tuple[str, dict[str, Any]]] = ("WER", {})
    score = score_items
    corpus = corpus_score_of_statistics
    prepare_words = prepare_items
    read_item = _number_words

    def score_one(self, sentence: Sentence, item: NumberedReferences) -> float:
        """Rate a sentence; an empty one scores 1."""
        edits, length = item.nearest(sentence)
        return edits / length

    def statistics(self, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
        """Count edits to the nearest reference and its words, [N, 2]; the corpus score is made of their sums."""
        checked_sentences(hypotheses, references)
        return np.array([NumberedReferences(rows).nearest(words) for words, rows in zip(hypotheses, references, strict=True)], np.float64)

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums [B, 2]."""
        return sums[:, 0] / sums[:, 1]


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
        return [int(sequence_kernels.edits_between(words, row)) for row in self.rows]

    def nearest(self, sentence: Sentence) -> tuple[int, int]:
        """Give edits and number of words of the reference with the least edits a word; of equal ones the shortest."""
        return min(zip(self.edits(sentence), map(len, self.rows), strict=True), key=lambda counts: (counts[0] / counts[1], counts[1]))
