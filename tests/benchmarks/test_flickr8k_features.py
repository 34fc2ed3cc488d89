"""The benchmark of Flickr8k compares beams of the same length, and captions of the same image."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {  # of dev, by temperature and length penalty: CIDEr-D, words a caption, share of different ones
    (0.4, 0.7): (0.54, 8.9, 0.80),
    (0.4, 1.0): (0.53, 9.8, 0.83),
    (1.0, 0.7): (0.55, 10.2, 0.79),
    (1.0, 1.0): (0.56, 10.6, 0.90),
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("flickr8k_features")


class Scored:
    def __init__(self, more: float) -> None:
        self.more = more

    def score(self, split: str, beam: Any) -> tuple[dict[str, float], list[float]]:
        assert split == "dev"  # nothing may be chosen on test
        found = zip(("cider_d", "length", "distinct"), FIGURES[beam.temperature, beam.length_penalty], strict=True)
        others = dict.fromkeys(("bleu4", "rouge_l", "bad_endings", "vocabulary"), 0.0)
        return {**others, **{name: figure + self.more for name, figure in found}}, []


def test_the_beam_is_the_best_on_dev_among_those_that_are_as_long_and_as_varied(benchmark: Any) -> None:
    scored = [Scored(0.1), Scored(-0.1)]
    means = {beam: benchmark.mean_figures(scored, beam) for beam in (benchmark.Beam(*each) for each in FIGURES)}
    assert means[benchmark.Beam(0.4, 1.0)]["length"] == pytest.approx(9.8)
    for start, chosen in (
        (None, (1.0, 1.0)),
        ({"length": 10.0, "distinct": 0.82}, (0.4, 1.0)),  # 9.8 and 10.2 words are within 2.5%, but of the latter too many are equal
        ({"length": 10.0, "distinct": 0.78}, (1.0, 0.7)),
        ({"length": 10.0, "distinct": 0.95}, (1.0, 0.7)),  # none is as varied
        ({"length": 8.0, "distinct": 0.5}, (0.4, 0.7)),  # none is as long
    ):
        assert benchmark.choose_beam(means, start) == benchmark.Beam(*chosen), start


def test_bootstrap_pairs_the_images(benchmark: Any) -> None:
    worse = [float(place % 7) for place in range(100)]
    better = [score + 0.5 + 0.1 * (place % 2) for place, score in enumerate(worse)]
    told = benchmark.bootstrap_difference(better, worse)
    assert told["mean"] == pytest.approx(0.55) and told["above_zero"] == 1.0
    # Pairs differ by 0.5 or 0.6, whatever the scores are: the mean of 100 lies within 1.96 times 0.05 / 10 of 0.55.
    assert told["low"] == pytest.approx(0.5402, abs=0.002) and told["high"] == pytest.approx(0.5598, abs=0.002)
