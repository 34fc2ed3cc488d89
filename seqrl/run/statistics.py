"""Robust averages over seeds with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

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
    strata: Sequence[ArrayLike], *, confidence: float = 0.95, num_resamples: int = 2000, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Percentile interval of the interquartile mean, resampling seeds within each stratum.

    Args:
        strata: one a task; each [N, ...], a score a seed, with N free to differ and the rest alike.
        confidence: share of resamples inside.
        num_resamples: how many are drawn.
        generator: draws them.

    Returns:
        lower and upper bound, [...]; both NaN where every stratum has a single seed.

    Raises:
        ValueError: when there is no stratum.

    Source: Agarwal et al. 2021 (Deep reinforcement learning at the edge of the statistical precipice), stratified bootstrap.
    """
    arrays = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if not arrays:
        raise ValueError("expected at least one stratum, got none")
    if all(len(array) < 2 for array in arrays):
        missing = np.full(arrays[0].shape[1:], np.nan)
        return missing, missing.copy()
    resampled = np.concatenate([array[generator.integers(len(array), size=(num_resamples, len(array)))] for array in arrays], axis=1)
    means = interquartile_mean(resampled, axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high
