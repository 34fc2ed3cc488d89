"""What a hypothesis adds to the BLEU of the corpus that it stands in, so that a reward of sentences follows the published figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import BleuCounts, bleu_of_counts, bleu_statistics, count_matches
from seqrl.metrics.item_texts import figure_of_statistics
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import score_sentences


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

    score = score_sentences
    corpus = figure_of_statistics
    statistics = bleu_statistics

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give BLEU [B] of sums [B, 2 n + 2]."""
        # a difference of equal numbers may be a little below 0
        return bleu_of_counts(BleuCounts.of_stacked(np.maximum(sums, 0.0)))[:, -1]

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids, [N] float64; rows of one item stand for each other."""
        counts = count_matches(index, rows, self.max_n).stacked()
        items, place = np.unique(rows.items, return_inverse=True)
        means = np.zeros((len(items), counts.shape[1]))
        np.add.at(means, place, counts)
        means /= np.bincount(place, minlength=len(items))[:, None]
        others = means.sum(axis=0) - means
        return len(items) * (self.from_statistics(others[place] + counts) - self.from_statistics(others)[place])
