"""Compiles the loops of all metrics, so that whoever scores first does not wait: `python -m seqrl.metrics.warm_up`."""

from __future__ import annotations

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.mix import MetricMix

# Every metric that has loops of its own: over ids, and over words. METEOR's wait until it is asked for, as its table of paraphrases does.
_WARM_UP = {"cider_d": 1.0, "cider": 1.0, "bleu4": 1.0, "rouge_l": 1.0}
_WARM_UP_WORDS = ("chrf", "wer", "rouge_lsum")


def warm_up() -> None:
    """Score something by each of them."""
    MetricMix(_WARM_UP, [[[4, 5, 6]], [[4]]], end=2).score([[4, 5, 2]], [3], [0])
    for name in _WARM_UP:
        metric_by_name(name).corpus(["a dog runs", "a cat"], [["a dog runs fast"], ["a cat"]])
    for name in _WARM_UP_WORDS:
        metric_by_name(name).prepare_words([[["a", "dog", "runs"]]]).score([["a", "cat"]], [0])


if __name__ == "__main__":
    warm_up()
