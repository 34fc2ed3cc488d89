"""Intervals and significance of corpus scores by the bootstrap, from statistics of single sentences that are summed, never scored anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES, SEED = 1000, 12345  # sacrebleu's, so that scores compare
_DRAWN_AT_A_TIME = 4_000_000  # sentences


@dataclass(frozen=True)
class Statistics:
    """What a corpus score is made of.

    Attributes:
        rows: [N, K] float64, of each sentence.
        score: from sums of rows [B, K] to scores [B].
        what: the score in words where it is not the one that the metric publishes, else empty.
    """

    rows: NDArray[np.float64]
    corpus_score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    what: str = ""

    def of_all(self) -> float:
        """Give the score of all sentences."""
        return float(self.corpus_score(self.rows.sum(axis=0, keepdims=True))[0])


def mean_statistics(scores: NDArray[np.float64], what: str = "") -> Statistics:
    """Give the statistics of a mean of scores [N]."""
    return Statistics(np.stack([scores, np.ones_like(scores)], axis=1), lambda sums: sums[:, 0] / sums[:, 1], what)


def bootstrap(statistics: Sequence[Statistics], *, samples: int = SAMPLES, seed: int = SEED) -> list[NDArray[np.float64]]:
    """Draw corpora of as many sentences, with repetitions, and give each score of each of them.

    Args:
        statistics: of the same sentences, for instance of several metrics and of two systems, which are all drawn together.
        samples: corpora to draw.
        seed: of the draws; the same seed and number of sentences give the draws of sacrebleu.

    Returns:
        For each of the statistics [samples] float64.

    Raises:
        ValueError: for statistics of different numbers of sentences, or of none.

    Source: Koehn 2004 (Statistical significance tests for machine translation evaluation), bootstrap resampling.
    """
    counts = {len(each.rows) for each in statistics}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"expected statistics of the same sentences, got {sorted(counts)} of them")
    number = counts.pop()
    columns = np.cumsum([0, *(each.rows.shape[1] for each in statistics)])
    rows = np.concatenate([each.rows for each in statistics], axis=1)
    generator = np.random.default_rng(seed)
    sums = []
    part = max(1, _DRAWN_AT_A_TIME // number)
    for start in range(0, samples, part):
        drawn = generator.integers(0, number, size=(min(part, samples - start), number))
        drawn += number * np.arange(len(drawn))[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums.append(times.astype(np.float64) @ rows)
    total = np.concatenate(sums)
    return [each.corpus_score(total[:, low:high]) for each, low, high in zip(statistics, columns, columns[1:], strict=False)]


def interval(corpus_scores: NDArray[np.float64]) -> tuple[float, float]:
    """Give the middle 95% of resampled scores."""
    ordered = np.sort(corpus_scores)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[-1 - cut])


def p_value(first: NDArray[np.float64], second: NDArray[np.float64], difference: float) -> float:
    """Give how often chance alone makes two systems differ by more.

    p = (#{|d_b| - mean_b |d_b| > |d|} + 1) / (B + 1), with d_b the difference of the scores of resample b and d that of all sentences.

    Args:
        first: [B] scores of one system, see `bootstrap`.
        second: [B] those of the other, of the same resamples.
        difference: between the scores of all sentences.

    Source: Koehn 2004 (Statistical significance tests for machine translation evaluation), paired bootstrap resampling; the test that
    sacrebleu runs under that name (Post 2018).
    Differs from: sacrebleu in 1 instead of 1 / (B + 1) for two systems that never differ.
    """
    differences = np.abs(second - first)
    if not differences.any():
        return 1.0
    beyond = int(np.sum(differences - differences.mean() > abs(difference)))
    return (beyond + 1) / (len(differences) + 1)
