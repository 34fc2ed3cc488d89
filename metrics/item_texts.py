"""References read once an item, and one hypothesis at a time scored against them: what most metrics of words are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.rows import split_words
from seqrl.metrics.text_scores import Sentence, check_items, checked_sentences


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


def score_items(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sequence[Sentence]],
    read_item: Callable[[Sequence[Sentence]], Any],
    score_one: Callable[[Any, Any], float],
) -> NDArray[np.float64]:
    """Score each hypothesis against its own references.

    Args:
        hypotheses: [N] sentences.
        references: [N] lists of sentences.
        read_item: from an item's references to what the metric keeps of them.
        score_one: from a hypothesis, as it is given, and what is kept of its item, to its score.

    Raises:
        ValueError: as `checked_sentences`.
    """
    checked_sentences(hypotheses, references)
    scores = [score_one(hypothesis, read_item(sentences)) for hypothesis, sentences in zip(hypotheses, references, strict=True)]
    return np.array(scores, np.float64)


def text_of(sentence: Sentence) -> str:
    """Give a sentence as text: as it was written, or words with spaces between."""
    return sentence if isinstance(sentence, str) else " ".join(split_words(sentence))


def mean(scores: NDArray[np.float64]) -> float:
    """Average the scores of a corpus.

    Raises:
        ValueError: where there is none.
    """
    require_some(len(scores))
    return float(scores.mean())


def require_some(num_hypotheses: int) -> None:
    """Refuse a corpus of nothing, which has no score.

    Raises:
        ValueError: for no hypothesis.
    """
    if not num_hypotheses:
        raise ValueError("expected at least one hypothesis with its references, got none")
