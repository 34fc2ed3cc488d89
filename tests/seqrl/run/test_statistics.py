from __future__ import annotations

import itertools

import numpy as np
import pytest

from seqrl.run.statistics import bootstrap_interval, interquartile_mean


@pytest.mark.parametrize(
    ("scores", "mean"),
    [([7.0], 7.0), ([1, 2, 6], 3.0), ([100, 1, 3, -50], 2.0), ([0, 1, 2, 3, 4, 5, 6, 1000], 3.5), ([9, 1, 2, 3, 4], 3.0)],
)
def test_interquartile_mean_by_hand(scores: list[float], mean: float) -> None:
    assert interquartile_mean(scores) == mean


def test_interquartile_mean_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    generator = np.random.default_rng(0)
    for count in range(1, 30):
        scores = generator.normal(size=(3, count))
        np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25, axis=1), rtol=1e-12)


def test_interval_against_all_resamples_of_three_seeds() -> None:
    scores = [1.0, 2.0, 4.0]
    means = sorted(sum(resample) / 3 for resample in itertools.product(scores, repeat=3))
    # 27 equally likely resamples: 2.5% of them lie below the first, 95% are within the second and the second to last.
    low, high = bootstrap_interval(scores, num_resamples=20_000, generator=np.random.default_rng(0))
    assert (low, high) == (means[0], means[-1])
    low, high = bootstrap_interval(scores, confidence=0.8, num_resamples=20_000, generator=np.random.default_rng(0))
    assert low == pytest.approx(means[2]) and high == pytest.approx(means[-3])


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(generator.normal(size=30), num_resamples=300, generator=generator)
        hits += bool(low <= 0 <= high)
    assert 0.87 < hits / 200 < 0.99


def test_one_seed_has_no_interval() -> None:
    low, high = bootstrap_interval([3.0], generator=np.random.default_rng(0))
    assert np.isnan(low) and np.isnan(high)
    with pytest.raises(ValueError, match="at least one score"):
        interquartile_mean([])
    with pytest.raises(ValueError, match="at least one score"):
        bootstrap_interval([], generator=np.random.default_rng(0))
