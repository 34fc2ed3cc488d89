"""BLEU of sentences beside sacrebleu, what a sentence adds to a corpus by brute force, and the penalties by hand."""

from __future__ import annotations

import numpy as np
import pytest
from corpora import as_text, random_corpus
from sacrebleu.metrics.bleu import BLEU

from seqrl.metrics.bleu import CorpusBleuGain, SentenceBleu
from seqrl.metrics.mix import MetricMix
from seqrl.metrics.penalties import LengthError, Repetition

SETTINGS = [("exp", None), ("floor", None), ("floor", 0.3), ("add-k", None), ("add-k", 0.5), ("none", None)]


def corpus(seed: int) -> tuple[list[str], list[list[str]]]:
    rows, lists = random_corpus(seed, num_items=60, vocabulary=5)
    return ["", *as_text(rows)], [["1 2 3"], *(as_text(each) for each in lists)]


@pytest.mark.parametrize("effective", [True, False])
@pytest.mark.parametrize(("smoothing", "value"), SETTINGS)
def test_sentences_and_corpora_score_as_sacrebleu_has_them(smoothing: str, value: float | None, effective: bool) -> None:
    hypotheses, references = corpus(0)
    ours = SentenceBleu(smoothing, value, effective_order=effective)
    theirs = BLEU(smooth_method=smoothing, smooth_value=value, tokenize="none", effective_order=effective, force=True)
    wanted = [theirs.sentence_score(h, rs).score / 100 for h, rs in zip(hypotheses, references, strict=True)]
    np.testing.assert_allclose(ours.score(hypotheses, references), wanted, rtol=1e-9, atol=1e-12)
    most = max(map(len, references))
    streams = [[rs[k] if k < len(rs) else None for rs in references] for k in range(most)]
    whole = BLEU(smooth_method=smoothing, smooth_value=value, tokenize="none", force=True).corpus_score(hypotheses, streams)
    assert ours.corpus(hypotheses, references) == pytest.approx(whole.score / 100)


def test_settings_that_sacrebleu_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="smoothing: expected one of none, floor, add-k, exp, got 'add_one'"):
        SentenceBleu("add_one")
    with pytest.raises(ValueError, match="value: expected .* got 2 with exp"):
        SentenceBleu("exp", 2)
    assert SentenceBleu("floor").described[1]["smooth"] == "floor[0.1]"


@pytest.mark.parametrize("num_each", [1, 3])
def test_what_a_hypothesis_adds_to_a_corpus_by_brute_force(num_each: int) -> None:
    rows, lists = random_corpus(1, num_items=8 * num_each, vocabulary=4)
    references = as_text_lists(lists[:8])
    hypotheses, items = as_text(rows), np.arange(8 * num_each) % 8
    numbers = {
        word: number for number, word in enumerate(["<end>", *sorted({w for t in [*hypotheses, *sum(references, [])] for w in t.split()})])
    }
    tokens = [[numbers[word] for word in text.split()] for text in hypotheses]
    width = max(map(len, tokens))
    mix = MetricMix(
        {"corpus_bleu_gain": 1.0}, [[[numbers[w] for w in t.split()] for t in each] for each in references], end=0, numbers=numbers
    )
    found = mix.score([row + [0] * (width - len(row)) for row in tokens], [len(row) for row in tokens], items)
    for row, item in enumerate(items.tolist()):
        # Each item counts with the mean of its hypotheses: as often as they are, the one that is scored stands for all of its item.
        others = [k for k in range(len(items)) if items[k] != item]
        wanted = sacre(
            [hypotheses[k] for k in others] + [hypotheses[row]] * num_each,
            [references[items[k]] for k in others] + [references[item]] * num_each,
        )
        without = sacre([hypotheses[k] for k in others], [references[items[k]] for k in others])
        assert found[row] == pytest.approx(8 * (wanted - without), abs=1e-6)


def sacre(hypotheses: list[str], references: list[list[str]]) -> float:
    streams = [[rs[k] if k < len(rs) else None for rs in references] for k in range(max(map(len, references)))]
    return BLEU(smooth_method="none", tokenize="none", force=True).corpus_score(hypotheses, streams).score / 100


def as_text_lists(lists: list[list[list[int]]]) -> list[list[str]]:
    return [as_text(each) for each in lists]


def test_the_gain_of_a_corpus_is_its_bleu() -> None:
    hypotheses, references = corpus(2)
    assert CorpusBleuGain().corpus(hypotheses, references) == pytest.approx(sacre(hypotheses, references), abs=1e-6)


def test_penalties_by_hand() -> None:
    references = [["a b c d", "a b"]] * 3
    np.testing.assert_allclose(LengthError().score(["a b c", "", "a b c d e f"], references), [1 / 4, 1, 1 / 2])
    np.testing.assert_allclose(LengthError(free=0.3).score(["a b c", "", "a b c d e f"], references), [0, 0.7, 0.2])
    np.testing.assert_allclose(Repetition(n=1).score(["a a a b", "a b c", ""], references), [1 / 2, 0, 0])
    np.testing.assert_allclose(Repetition().score(["a b a b", "a", "a a a"], references), [1 / 3, 0, 1 / 2])
    with pytest.raises(ValueError, match="n: expected at least 1"):
        Repetition(n=0)
    with pytest.raises(ValueError, match="free: expected"):
        LengthError(free=-1)
