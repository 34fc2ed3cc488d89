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
OTHERS = sorted(
    {"rouge1", "rouge2", "rouge_lsum", "chrf", "ter", "exact_match", "edit_distance", "wer", "slot_error", "sentence_bleu"}
    | {"length_error", "repetition"}
)


@pytest.mark.parametrize("name", OTHERS)
def test_a_reward_by_name_is_the_metric_on_the_words(name: str) -> None:
    weight = 2.0 if by_name.higher_is_better(name) else -2.0
    mix = MetricMix({name: weight, "rouge_l": 1.0}, REFERENCES, end=0, numbers=NUMBERS)
    tokens, lengths, items = [[1, 4, 5, 0], [1, 2, 5, 3], [0, 9, 9, 9]], [4, 3, 1], [1, 0, 1]
    hypotheses, references = ["a cat sits", "a dog sits", ""], [TEXTS[1], TEXTS[0], TEXTS[1]]
    expected = weight * metric_by_name(name).score(hypotheses, references) + metric_by_name("rouge_l").score(hypotheses, references)
    np.testing.assert_allclose(mix.score(tokens, lengths, items), expected, rtol=1e-12, atol=1e-12)
    assert by_name.takes_words(name)


@pytest.mark.parametrize("name", sorted({*OTHERS, "meteor", "spice", "spider"} & set(METRICS)))
def test_scores_do_not_depend_on_what_was_scored_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on from a checkpoint begins with empty caches and has to be the same to the last bit."""
    monkeypatch.setattr("seqrl.metrics.meteor.metric._MOST_NEW_WORDS", 2)  # so that they are dropped on the way
    numbers = {word: number for number, word in enumerate([*WORDS, *"two dogs run brown boats sitting in front of big the".split()])}
    weight = 1.0 if by_name.higher_is_better(name) else -1.0
    draw = np.random.default_rng(3)
    tokens, items = draw.integers(0, len(numbers), (24, 7)), draw.integers(0, 2, 24)
    lengths = np.full(24, 7)

    def scored(*parts: slice) -> np.ndarray:
        mix = MetricMix({name: weight}, REFERENCES, end=0, numbers=numbers)
        scores = np.zeros(24)
        for part in parts:
            scores[part] = mix.score(tokens[part], lengths[part], items[part])
        return scores

    together = scored(slice(0, 24))
    np.testing.assert_array_equal(scored(slice(20, 24), slice(9, 20), slice(0, 9), slice(20, 24)), together)
    np.testing.assert_array_equal(scored(*(slice(row, row + 1) for row in range(23, -1, -1))), together)
    assert len(set(together.tolist())) > 1 or name == "exact_match"


@pytest.mark.parametrize("name", ["ter", "wer", "edit_distance", "slot_error", "length_error", "repetition"])
def test_what_should_be_small_is_never_rewarded(name: str) -> None:
    with pytest.raises(ValueError, match=f"metrics.{name}: expected a weight below 0, since less is better"):
        MetricMix({name: 1.0}, REFERENCES, end=0, numbers=NUMBERS)


@pytest.mark.parametrize("name", CORPUS_ONLY)
def test_a_corpus_score_of_a_corpus_is_no_reward(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has one score for all sentences together"):
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
