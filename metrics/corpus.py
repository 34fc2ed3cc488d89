"""A corpus that several metrics are to score: its words are numbered and its references counted once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import Bleu, BleuCounts, bleu_of_counts, count_matches
from seqrl.metrics.item_texts import mean_of_scores
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.resampling import Statistics, mean_statistics
from seqrl.metrics.rows import HypothesisRows, require_pairs
from seqrl.metrics.token_scores import References, Sentence, TokenMetric, index_sentences

_MAX_N = 4
_SOME = 20


class Corpus:
    """Hypotheses and their references.

    Args:
        hypotheses: [N] tokenised strings or lists of words; for metrics of text as it was written, that text.
        references: [N] lists of the same.

    Raises:
        ValueError: for what is no list, or lists of different lengths; what else the metrics refuse, when they score.
    """

    def __init__(self, hypotheses: Sequence[Sentence], references: References) -> None:
        require_pairs(hypotheses, references)
        self.hypotheses, self.references = hypotheses, references
        self._scored: list[tuple[Any, NDArray[np.float64]]] = []

    def scores(self, metric: Any) -> NDArray[np.float64]:
        """Score each hypothesis, [N] float64; what was scored with the same metric before is kept."""
        for known, scores in self._scored:
            if known is metric:
                return scores
        if _may_share(metric):
            scores = np.asarray(metric.score_rows(*self._numbered), np.float64)
        else:
            scores = np.asarray(metric.score(self.hypotheses, self.references), np.float64)
        self._scored.append((metric, scores))
        return scores

    def corpus_score(self, metric: Any) -> float:
        """Give the metric's corpus score."""
        if type(metric) is Bleu and _may_share(metric):
            return self.statistics(metric).of_all()
        if getattr(type(metric), "corpus", None) is mean_of_scores and len(self.hypotheses):
            return float(self.scores(metric).mean())
        return float(metric.corpus(self.hypotheses, self.references))

    def statistics(self, metric: Any) -> Statistics:
        """Give what resampled corpora are scored from.

        A metric may offer its own: `statistics(hypotheses, references)` gives rows [N, K], or the scores [N] and these rows, and
        `from_statistics(sums)` turns sums of rows [B, K] into corpus scores [B]. Others are taken for the mean of their sentences' scores,
        and what comes says so where they are not.

        Raises:
            ValueError: for a metric that has one score for the corpus and no scores of sentences.
        """
        if type(metric) is Bleu and _may_share(metric):
            return _bleu_statistics(self._matches, metric.max_n)
        if hasattr(metric, "from_statistics"):
            found = metric.statistics(self.hypotheses, self.references)
            if isinstance(found, tuple):
                scores, found = found
                self._scored.append((metric, np.asarray(scores, np.float64)))
            return Statistics(np.asarray(found, np.float64), metric.from_statistics)
        scores = self.scores(metric)
        return mean_statistics(scores, "" if self._is_mean(metric) else "the mean of the sentences' scores")

    def _is_mean(self, metric: Any) -> bool:
        """Tell whether a metric's corpus score is the mean of its scores, by that of the first sentences: all would be scored twice."""
        some = self.hypotheses[:_SOME], self.references[:_SOME]
        return bool(np.isclose(np.mean(metric.score(*some)), metric.corpus(*some), rtol=1e-9, atol=1e-12))

    @cached_property
    def _numbered(self) -> tuple[ReferenceIndex, HypothesisRows]:
        return index_sentences(Bleu(_MAX_N), self.hypotheses, self.references)

    @cached_property
    def _matches(self) -> BleuCounts:
        return count_matches(*self._numbered, _MAX_N)


def _may_share(metric: Any) -> bool:
    plain = not getattr(metric, "score_end", False) and getattr(metric, "document_frequency", None) is None
    return isinstance(metric, TokenMetric) and metric.max_n <= _MAX_N and plain


def _bleu_statistics(counts: BleuCounts, n: int) -> Statistics:
    rows = counts._replace(correct=counts.correct[:, :n], possible=counts.possible[:, :n]).stacked()
    return Statistics(rows, lambda sums: bleu_of_counts(BleuCounts.of_stacked(sums))[:, -1])
