"""What a hypothesis adds to the BLEU of the corpus that it stands in, so that a reward of sentences follows the published score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import BleuCounts, count_matches
from seqrl.metrics.corpus import bleu_of_counts
from seqrl.metrics.item_texts import require_some
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import Sentence, index_sentences


@dataclass(frozen=True)
class CorpusBleuGain:
    """Scores N (BLEU of the corpus with this hypothesis - BLEU of the corpus without its item), for N items; the corpus is what is scored
    together, in training the batch.

    The difference of two scores of an item is N times what corpus BLEU gains when one hypothesis replaces the other. Where an item has
    several hypotheses, each of the other items counts with the mean of its own.

    Args:
        max_n: longest n-gram, in words.

    Raises:
        ValueError: for an item without references or an empty reference.
    """

    max_n: int = 4
    bound: ClassVar[float] = np.inf
    # A hypothesis has no score of its own.
    scores_together: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "corpus-BLEU-gain", {"n": self.max_n}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis of a corpus: tokenised strings or lists of words, [N] float64."""
        return self.score_rows(*index_sentences(hypotheses, references, max_n=self.max_n))

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give BLEU of the corpus."""
        require_some(len(hypotheses))
        index, rows = index_sentences(hypotheses, references, max_n=self.max_n)
        return float(self._bleu(self._counts(index, rows).sum(axis=0, keepdims=True))[0])

    def statistics(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Count matches and n-grams of each order, words, and words of the closest reference, [N, 2 n + 2]."""
        return self._counts(*index_sentences(hypotheses, references, max_n=self.max_n))

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give BLEU [B] of sums [B, 2 n + 2]."""
        return self._bleu(sums)

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids, [N] float64; rows of one item stand for each other."""
        counts = self._counts(index, rows)
        items, place = np.unique(rows.items, return_inverse=True)
        means = np.zeros((len(items), counts.shape[1]))
        np.add.at(means, place, counts)
        means /= np.bincount(place, minlength=len(items))[:, None]
        others = means.sum(axis=0) - means
        return len(items) * (self._bleu(others[place] + counts) - self._bleu(others)[place])

    def _counts(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        return count_matches(index, rows, self.max_n).stacked()

    def _bleu(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        # a difference of equal numbers may be a little below 0
        return bleu_of_counts(*BleuCounts.of_stacked(np.maximum(sums, 0.0)))[:, -1]
