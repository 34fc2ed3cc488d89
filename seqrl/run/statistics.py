"""Robust averages over seeds with their uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def interquartile_mean(scores: ArrayLike, axis: int = -1) -> Floats:
    """Mean of the middle half: the lowest and the highest floor(n / 4) of n scores are left out.

    With fewer than four scores that is the plain mean.

    Args:
        scores: any shape, float.
        axis: which one is averaged.

    Raises:
        ValueError: when there are no scores.

    Source: Agarwal et al. 2021 (Deep reinforcement learning at the edge of the statistical precipice), interquartile mean.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=axis)
    count = ordered.shape[axis]
    if count == 0:
        raise ValueError("expected at least one score, got none")
    cut = count // 4
    return np.asarray(np.take(ordered, range(cut, count - cut), axis=axis).mean(axis=axis))


def bootstrap_interval(
    scores: ArrayLike, *, confidence: float = 0.95, num_resamples: int = 2000, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Percentile interval of the interquartile mean, resampling seeds.

    Args:
        scores: [N, ...], a score a seed.
        confidence: share of resamples inside.
        num_resamples: how many are drawn.
        generator: draws them.

    Returns:
        lower and upper bound, [...]; both NaN where there is a single seed.

    Raises:
        ValueError: when there are no scores.

    Source: Agarwal et al. 2021 (Deep reinforcement learning at the edge of the statistical precipice), bootstrap of one task.
    """
    array = np.asarray(scores, dtype=np.float64)
    means = interquartile_mean(array[generator.integers(len(array), size=(num_resamples, len(array)))], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means if len(array) > 1 else np.full_like(means, np.nan), [tail, 1 - tail], axis=0)
    return low, high
