"""References read once an item, and one hypothesis at a time scored against them: what most metrics of words are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.rows import split_words
from seqrl.metrics.text_scores import References, Sentence, TextMetric, check_items, checked_references, checked_sentences


class ItemMetric(Protocol):
    """A metric that scores one sentence at a time; `score = score_items` and the like in its class give it the methods of a metric."""

    def read_item(self, sentences: Sequence[Sentence]) -> Any:
        """Give what the metric keeps of an item's references."""

    def score_one(self, sentence: Sentence, item: Any) -> float:
        """Score a sentence, as it is given, against what is kept of its item."""


@dataclass(frozen=True)
class PreparedItems:
    """References read once: call `score` on every batch.

    Attributes:
        items: what the metric keeps of each item's references.
        score_one: scores one hypothesis against what is kept of its item.
    """

    items: Sequence[Any]
    score_one: Callable[[Any, Any], float]

    def score(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> NDArray[np.float64]:
        """Score hypotheses of words, each against the references of its item; [N] float64."""
        check_items(hypotheses, items, len(self.items))
        scores = [self.score_one(words, self.items[item]) for words, item in zip(hypotheses, items, strict=True)]
        return np.array(scores, np.float64)


def score_items(self: ItemMetric, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Score each hypothesis against its own references: tokenised strings or lists of words, [N] float64."""
    checked_sentences(hypotheses, references)
    return np.array([self.score_one(*pair) for pair in zip(hypotheses, map(self.read_item, references), strict=True)], np.float64)


def score_prepared(self: TextMetric, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Score each hypothesis against its own references, prepared for this once: tokenised strings or lists of words, [N] float64."""
    checked_sentences(hypotheses, references)
    return self.prepare_words(references).score(hypotheses, range(len(hypotheses)))


def prepare_items(self: ItemMetric, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
    """Read references once; the result scores batches."""
    checked_references(references)
    return PreparedItems(list(map(self.read_item, references)), self.score_one)


def mean_of_scores(self: Any, *sentences: Any, **settings: Any) -> float:
    """Average the scores of a corpus; arguments as in the metric's `score`.

    Raises:
        ValueError: where there is none.
    """
    scores = self.score(*sentences, **settings)
    require_some(len(scores))
    return float(scores.mean())


def corpus_score_of_statistics(self: Any, hypotheses: Sequence[Sentence], references: References) -> float:
    """Give the score of a corpus from the sums of its sentences' `statistics`.

    Raises:
        ValueError: where there is none.
    """
    rows = self.statistics(hypotheses, references)
    require_some(len(rows))
    return float(self.from_statistics(rows.sum(axis=0, keepdims=True))[0])


def text_of(sentence: Sentence) -> str:
    """Give a sentence as text: as it was written, or words with spaces between."""
    return sentence if isinstance(sentence, str) else " ".join(split_words(sentence))


def require_some(num_hypotheses: int) -> None:
    """Refuse a corpus of nothing, which has no score.

    Raises:
        ValueError: for no hypothesis.
    """
    if not num_hypotheses:
        raise ValueError("expected at least one hypothesis with its references, got none")
