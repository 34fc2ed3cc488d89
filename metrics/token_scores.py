"""What the metrics on token ids share: the protocol, references prepared for one metric, and the path from words to ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import END_WORD, HypothesisRows, WordNumbers, number_hypotheses, number_references, require_pairs

Sentence = str | Sequence[str]


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


def index_sentences(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sequence[Sentence]],
    *,
    max_n: int,
    score_end: bool = False,
    document_frequency: DocumentFrequency | None = None,
    tokenisation: str | None = None,
) -> tuple[ReferenceIndex, HypothesisRows]:
    """Number the words of hypotheses and references and count the references.

    Where `score_end`, each sentence is taken to be finished: the end counts as one more word on both sides.

    Raises:
        ValueError: for what is no list of sentences, lists of different lengths, an item without references, an empty
            reference, or document frequencies that were made differently.
    """
    require_pairs(hypotheses, references)
    numbers = WordNumbers({END_WORD: 0})
    if document_frequency is not None:
        numbers = WordNumbers({word: number for number, word in enumerate(document_frequency.words or ())})
    end = numbers[END_WORD] if score_end else None
    rows = number_references(references, numbers)
    index = ReferenceIndex(
        rows,
        max_n=max_n,
        end=end,
        score_end=score_end,
        document_frequency=document_frequency,
        tokenisation=tokenisation,
        word_numbers=True,
    )
    return index, number_hypotheses(hypotheses, numbers, end=end)


def prepare_references(references: Sequence[Sequence[Sequence[int]]] | ReferenceIndex, *, max_n: int, **settings: Any) -> ReferenceIndex:
    """Count references, or take an index as it is, which several metrics may share.

    Raises:
        ValueError: where the index holds shorter n-grams than the metric needs.
    """
    if not isinstance(references, ReferenceIndex):
        return ReferenceIndex(references, max_n=max_n, **settings)
    if references.max_n < max_n:
        raise ValueError(f"the index holds n-grams up to {references.max_n}, the metric needs {max_n}: build it with max_n={max_n}")
    return references
