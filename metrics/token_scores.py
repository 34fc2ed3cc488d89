"""What the metrics on token ids share: the protocol, references prepared for one metric, and the path from words to ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import END_WORD, HypothesisRows, WordNumbers, number_references, pad_rows, require_pairs, split_words
from seqrl.metrics.text_scores import References, Sentence


@runtime_checkable
class TokenMetric(Protocol):
    """A metric that scores rows of token ids against prepared references."""

    @property
    def max_n(self) -> int:
        """Longest n-gram that the metric reads, in tokens."""

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score each row against the references of its item, [N]."""


@dataclass(frozen=True)
class PreparedMetric:
    """A metric with its references counted: call `score` on every batch."""

    metric: TokenMetric
    index: ReferenceIndex

    def score(self, tokens: ArrayLike, lengths: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Score hypotheses.

        Args:
            tokens: [N, T] int64 token ids; what follows a row's length or its end token is never read.
            lengths: [N] int64 tokens in each row.
            items: [N] int64 whose references each row is compared with.

        Returns:
            [N] float64.

        Raises:
            ValueError: for shapes that do not fit or items that the index does not have.
        """
        return self.metric.score_rows(self.index, self.index.check(tokens, lengths, items))


def score_sentences(self: TokenMetric, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
    return self.score_rows(*index_sentences(self, hypotheses, references))


def prepare_rows(
    self: TokenMetric, references: Sequence[Sequence[Sequence[int]]] | ReferenceIndex, *, end: int | None = None
) -> PreparedMetric:
    """Count references of token ids once (rows without special tokens); the result scores batches of rows.

    Args:
        self: the metric.
        references: of all items, or an index of them as it is, which several metrics may share.
        end: id of the end token.

    Raises:
        ValueError: what `ReferenceIndex` refuses, and an index of shorter n-grams than the metric needs.
    """
    if not isinstance(references, ReferenceIndex):
        references = ReferenceIndex(references, end=end, **index_settings(self))
    if references.max_n < self.max_n:
        raise ValueError(
            f"the index holds n-grams up to {references.max_n}, the metric needs {self.max_n}: build it with max_n={self.max_n}"
        )
    if hasattr(self, "document_frequency"):
        references.prepare_cider()
    return PreparedMetric(self, references)


def index_settings(metric: TokenMetric) -> dict[str, Any]:
    """Give a metric's settings that say how references are counted for it."""
    names = ("max_n", "score_end", "document_frequency", "tokenisation")
    return {name: getattr(metric, name) for name in names if hasattr(metric, name)}


def index_sentences(metric: TokenMetric, hypotheses: Sequence[Sentence], references: References) -> tuple[ReferenceIndex, HypothesisRows]:
    """Number the words of hypotheses and references and count the references as the metric's settings say.

    Where `score_end`, each sentence is taken to be finished: the end counts as one more word on both sides.

    Raises:
        ValueError: for what is no list of sentences, lists of different lengths, an item without references, an empty
            reference, or document frequencies that were made differently.
    """
    require_pairs(hypotheses, references)
    settings = index_settings(metric)
    numbers = WordNumbers({END_WORD: 0})
    if (frequency := settings.get("document_frequency")) is not None:
        numbers = WordNumbers({word: number for number, word in enumerate(frequency.words or ())})
    end = numbers[END_WORD] if settings.get("score_end") else None
    index = ReferenceIndex(number_references(references, numbers), end=end, word_numbers=True, **settings)
    closing = [] if end is None else [end]
    rows = [[numbers[word] for word in split_words(sentence)] + closing for sentence in hypotheses]
    return index, pad_rows(rows, range(len(rows)))
