"""A corpus that several metrics are to score: its words are numbered and its references counted once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import Bleu, BleuCounts, SacreBleu, count_matches
from seqrl.metrics.cider import Cider, CiderD, CiderR
from seqrl.metrics.item_texts import require_some
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.resampling import Statistics, mean_statistics
from seqrl.metrics.rouge import RougeL
from seqrl.metrics.rows import HypothesisRows, require_pairs
from seqrl.metrics.text_scores import checked_sentences
from seqrl.metrics.token_scores import Sentence, TokenMetric, index_sentences

_MAX_N = 4
_SOME = 20
# coco-caption adds them to BLEU's counts.
TINY, SMALL = 1e-15, 1e-9


class Corpus:
    """Hypotheses and their references.

    Args:
        hypotheses: [N] tokenised strings or lists of words; for metrics of text as it was written, that text.
        references: [N] lists of the same.

    Raises:
        ValueError: for what is no list, or lists of different lengths; what else the metrics refuse, when they score.
    """

    def __init__(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> None:
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
        if type(metric) in (CiderD, CiderR, Cider, RougeL) and _may_share(metric):
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
        engine = metric._metric(effective_order=False) if isinstance(metric, SacreBleu) else getattr(metric, "_metric", None)
        if hasattr(engine, "_extract_corpus_statistics"):
            return _sacrebleu_statistics(engine, self.hypotheses, self.references)
        scores = self.scores(metric)
        return mean_statistics(scores, "" if self._is_mean(metric) else "the mean of the sentences' scores")

    def _is_mean(self, metric: Any) -> bool:
        """Tell whether a metric's corpus score is the mean of its scores, by that of the first sentences: all would be scored twice."""
        some = self.hypotheses[:_SOME], self.references[:_SOME]
        return bool(np.isclose(np.mean(metric.score(*some)), metric.corpus(*some), rtol=1e-9, atol=1e-12))

    @cached_property
    def _numbered(self) -> tuple[ReferenceIndex, HypothesisRows]:
        return index_sentences(self.hypotheses, self.references, max_n=_MAX_N)

    @cached_property
    def _matches(self) -> BleuCounts:
        return count_matches(*self._numbered, _MAX_N)


def bleu_of_counts(
    correct: NDArray[Any], possible: NDArray[Any], length: NDArray[Any], closest: NDArray[Any], *, tiny: float = TINY, small: float = SMALL
) -> NDArray[np.float64]:
    """Give coco-caption's BLEU of 1 to n words from matches and n-grams [N, n] and lengths [N] of sentence and reference; [N, n].

    score_n = (prod_k (correct_k + tiny) / (possible_k + small))^(1/n) min(1, exp(1 - r / c)), with c = length + tiny, r = closest + small
    """
    brevity = np.exp(np.minimum(0.0, 1.0 - (closest + small) / (length + tiny)))
    orders = np.arange(1, correct.shape[1] + 1)
    return np.cumprod((correct + tiny) / (possible + small), axis=1) ** (1.0 / orders) * brevity[:, None]


def _may_share(metric: Any) -> bool:
    plain = not getattr(metric, "score_end", False) and getattr(metric, "document_frequency", None) is None
    return isinstance(metric, TokenMetric) and metric.max_n <= _MAX_N and plain


def _bleu_statistics(counts: BleuCounts, n: int) -> Statistics:
    rows = counts._replace(correct=counts.correct[:, :n], possible=counts.possible[:, :n]).stacked()
    return Statistics(rows, lambda sums: bleu_of_counts(*BleuCounts.of_stacked(sums))[:, -1])


def _sacrebleu_statistics(engine: Any, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]]) -> Statistics:
    checked_sentences(hypotheses, references)
    require_some(len(hypotheses))
    # sacrebleu takes the first references of all items, then the second ones; None where an item has fewer.
    most = max(map(len, references))
    streams = [[texts[k] if k < len(texts) else None for texts in references] for k in range(most)]
    rows = np.array(engine._extract_corpus_statistics(hypotheses, streams), np.float64)
    whole = np.array_equal(rows, np.rint(rows))

    def corpus_score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = np.rint(sums).astype(np.int64) if whole else sums
        return np.array([engine._compute_score_from_stats(list(row)).score for row in counts.tolist()], np.float64)

    return Statistics(rows, corpus_score)
