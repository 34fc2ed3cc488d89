"""ROUGE-L: the longest common subsequence of a sentence and its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import kernels, rouge_kernels
from seqrl.metrics.item_texts import mean
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import PreparedMetric, Sentence, index_sentences, prepare_references


@dataclass(frozen=True)
class RougeL:
    """ROUGE-L as coco-caption computes it, range 0 to 1.

    score = (1 + beta^2) P R / (R + beta^2 P), with P and R the greatest over the references of LCS / length of the
    hypothesis and LCS / length of the reference; the two may come from different references.

    Args:
        beta: weight of recall against precision.
        score_end: the end of the sentence counts as a word.

    Raises:
        ValueError: for an item without references or an empty reference.

    Source: Lin 2004 (ROUGE), sentence-level ROUGE-L.
    Differs from: the paper, as coco-caption does, in beta = 1.2 and in taking P and R from different references.
    """

    beta: float = 1.2
    score_end: bool = False
    bound: ClassVar[float] = 1.0

    @property
    def max_n(self) -> int:
        """Longest n-gram that the metric reads, in tokens."""
        return 1

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "ROUGE-L", {"beta": self.beta}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        index, rows = index_sentences(hypotheses, references, max_n=self.max_n, score_end=self.score_end)
        return self.score_rows(index, rows)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the published score: the mean of the scores."""
        return mean(self.score(hypotheses, references))

    def prepare(self, references: Sequence[Sequence[Sequence[int]]] | ReferenceIndex, *, end: int | None = None) -> PreparedMetric:
        """Take references of token ids (rows without special tokens); the result scores batches of rows."""
        return PreparedMetric(self, prepare_references(references, max_n=self.max_n, end=end, score_end=self.score_end))

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        scores = np.empty(len(rows.items), np.float64)
        lengths = np.empty(len(rows.items), np.int64)
        kernels.scored_lengths(rows.tokens, rows.lengths, index.end_id, index.score_end, lengths)
        rouge_kernels.rouge_scores(
            rows.tokens,
            lengths,
            rows.items,
            self.beta,
            index.rows.tokens,
            index.rows.row_starts,
            index.rows.item_rows,
            int(np.diff(index.rows.row_starts).max(initial=0)),
            scores,
        )
        return scores
