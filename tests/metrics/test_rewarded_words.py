"""Metrics of words as rewards by their names: every one of them, in the direction that it has."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from seqrl.metrics import by_name
from seqrl.metrics.by_name import METRICS, metric_by_name
from seqrl.metrics.mix import MetricMix

WORDS = ["<end>", "a", "dog", "runs", "cat", "sits"]
NUMBERS = {word: number for number, word in enumerate(WORDS)}
REFERENCES = [[[1, 2, 3], [2, 3]], [[1, 4, 5]]]
TEXTS = [["a dog runs", "dog runs"], ["a cat sits"]]
CORPUS_ONLY = ["distinct1", "distinct2", "vocabulary", "self_cider"]
OTHERS = sorted({"rouge1", "rouge2", "rouge_lsum", "chrf", "ter", "exact_match", "edit_distance", "wer", "slot_error"} & set(METRICS))


@pytest.mark.parametrize("name", OTHERS)
def test_a_reward_by_name_is_the_metric_on_the_words(name: str) -> None:
    weight = 2.0 if by_name.higher_is_better(name) else -2.0
    mix = MetricMix({name: weight, "rouge_l": 1.0}, REFERENCES, end=0, numbers=NUMBERS)
    tokens, lengths, items = [[1, 4, 5, 0], [1, 2, 5, 3], [0, 9, 9, 9]], [4, 3, 1], [1, 0, 1]
    hypotheses, references = ["a cat sits", "a dog sits", ""], [TEXTS[1], TEXTS[0], TEXTS[1]]
    expected = weight * metric_by_name(name).score(hypotheses, references) + metric_by_name("rouge_l").score(hypotheses, references)
    np.testing.assert_allclose(mix.score(tokens, lengths, items), expected, rtol=1e-12, atol=1e-12)
    assert by_name.takes_words(name)


@pytest.mark.parametrize("name", ["ter", "wer", "edit_distance", "slot_error"])
def test_what_should_be_small_is_never_rewarded(name: str) -> None:
    with pytest.raises(ValueError, match=f"the weight of {name} must be below 0, since less is better"):
        MetricMix({name: 1.0}, REFERENCES, end=0, numbers=NUMBERS)


@pytest.mark.parametrize("name", CORPUS_ONLY)
def test_a_figure_of_a_corpus_is_no_reward(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has one figure for all sentences together"):
        MetricMix({name: 1.0}, REFERENCES, end=0, numbers=NUMBERS)


def test_what_needs_images_says_how_to_reward_it() -> None:
    with pytest.raises(ValueError, match="ref_clip_score looks at images.*prepare"):
        MetricMix({"ref_clip_score": 1.0}, REFERENCES, end=0, numbers=NUMBERS)
    assert not by_name.takes_words("ref_clip_score") and not by_name.takes_words("self_cider") and not by_name.takes_words("sacrebleu")


def test_to_make_every_metric_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "numba", "sacrebleu", "nltk", "PIL", "sentence_transformers"]
    program = (
        "import sys; from seqrl.metrics.by_name import METRICS, metric_by_name\n"
        f"[metric_by_name(name).described for name in METRICS]; print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
