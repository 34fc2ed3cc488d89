"""The benchmark of Flickr8k compares beams of the same length, and captions of the same image."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {  # of dev, by length penalty: CIDEr-D and words a caption
    0.7: (0.50, 8.9),
    1.0: (0.54, 9.1),
    1.5: (0.53, 9.4),
    2.0: (0.52, 9.7),
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("flickr8k_features")


class Scored:
    def __init__(self, more: float) -> None:
        self.more = more

    def score(self, split: str, penalty: float) -> tuple[dict[str, float], list[float]]:
        assert split == "dev"  # nothing may be chosen on test
        cider_d, length = FIGURES[penalty]
        others = dict.fromkeys(("bleu4", "rouge_l", "bad_endings", "distinct", "vocabulary"), 0.0)
        return {"cider_d": cider_d + self.more, "length": length + self.more, **others}, []


def test_penalty_is_the_best_on_dev_or_gives_captions_of_the_length_asked_for(benchmark: Any) -> None:
    assert benchmark.LENGTH_PENALTIES == tuple(FIGURES)
    scored = [Scored(0.1), Scored(-0.1)]
    best, means = benchmark.choose_penalty(scored, None)
    assert best == 1.0 and means[1.0]["cider_d"] == pytest.approx(0.54) and means[2.0]["length"] == pytest.approx(9.7)
    assert benchmark.choose_penalty(scored, 9.74)[0] == 2.0
    assert benchmark.choose_penalty(scored, 8.0)[0] == 0.7


def test_bootstrap_pairs_the_images(benchmark: Any) -> None:
    worse = [float(place % 7) for place in range(100)]
    better = [score + 0.5 + 0.1 * (place % 2) for place, score in enumerate(worse)]
    told = benchmark.bootstrap_difference(better, worse)
    assert told["mean"] == pytest.approx(0.55) and told["above_zero"] == 1.0
    # Pairs differ by 0.5 or 0.6, whatever the scores are: the mean of 100 lies within 1.96 times 0.05 / 10 of 0.55.
    assert told["low"] == pytest.approx(0.5402, abs=0.002) and told["high"] == pytest.approx(0.5598, abs=0.002)
