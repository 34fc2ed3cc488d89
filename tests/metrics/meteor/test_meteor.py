"""Tests of METEOR: numbers by hand and of METEOR 1.5 (Java), what it refuses, and what holds for any text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqrl.metrics.by_name import higher_is_better, metric_by_name
from seqrl.metrics.meteor.metric import Meteor, PreparedMeteor
from seqrl.metrics.meteor.normalise import normalise
from seqrl.metrics.meteor.paraphrases import Paraphrases

# What METEOR 1.5 prints for these, with the full table of paraphrases; none of it uses that table.
JAVA = [
    ("a dogs", "a dog", 0.7),
    ("a red dogs run", "a red dog run", 0.88),
    ("dog's", "dog", 0.38095238095238093),
    ("xyzzies", "xyzzy", 0.6),
    ("u.s.", "us", 1.0),
    ("a-b", "a b", 1.0),
    ("axes", "axis", 0.8),
    ("better", "good", 0.8),
    ("a , b", "a b", 0.38554216867469876),
    ("x a a y", "x a y a", 0.43354749322305886),
    ("z z y", "z y z", 0.4467352531109634),
    ("b b a", "t a b", 0.22857142857142856),
    ("b b b", "b b", 0.4443438716486749),
    ("dogs", "dog", 0.0),
    ("", "x", 0.0),
]
WORDS = st.lists(st.sampled_from(["a", "dog", "dogs", "in", "front", "of", "before", "kid", "child", "runs", "ran", "."]), max_size=9)
SOME = st.lists(WORDS.filter(bool), min_size=1, max_size=4)


@pytest.mark.parametrize(("hypothesis", "reference", "score"), JAVA)
def test_what_java_prints(small_table: Paraphrases, hypothesis: str, reference: str, score: float) -> None:
    assert Meteor().score([hypothesis], [[reference]])[0] == pytest.approx(score, abs=1e-12)


def test_a_paraphrase_by_hand(small_table: Paraphrases) -> None:
    scores, statistics = Meteor().statistics(["sits in front of it"], [["stands before it"]])
    # in, of are function words, front is content and before is content; "it" is the same: one chunk of 4 and 2 words
    assert statistics[0].tolist() == [5, 3, 3, 1, 0, 0, 1, 1, *[0] * 8, 1, 1, 2, 0, 1, 4, 2]
    precision = (0.25 + 0.6 * (0.75 + 2 * 0.25)) / (0.75 * 2 + 0.25 * 3)
    recall = (0.25 + 0.6 * 0.75) / (0.75 * 2 + 0.25)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    assert scores[0] == pytest.approx(mean * (1 - 0.6 * (1 / 3) ** 0.2))


def test_the_corpus_corpus_score_is_not_the_mean(small_table: Paraphrases) -> None:
    hypotheses, references = ["a dog runs", "cats"], [["a dog runs"], ["the red house over there"]]
    statistics = Meteor().statistics(hypotheses, references)[1].sum(axis=0)
    assert statistics[20:].tolist() == [0, 3, 3]
    precision = 1.75 / (0.75 * (4 - statistics[2]) + 0.25 * statistics[2])
    recall = 1.75 / (0.75 * (8 - statistics[3]) + 0.25 * statistics[3])
    # the first sentence is its reference, and so has no chunk to pay for
    assert Meteor().corpus(hypotheses, references) == pytest.approx(precision * recall / (0.85 * precision + 0.15 * recall))


def test_no_corpus_has_no_corpus_score(small_table: Paraphrases) -> None:
    with pytest.raises(ValueError, match="at least one hypothesis"):
        Meteor().corpus([], [])


def test_statistics_of_sentences_sum_to_the_corpus_score(small_table: Paraphrases) -> None:
    hypotheses, references = ["a dog runs", "a kid", "in front of it"], [["a dog runs"], ["the child"], ["before it"]]
    statistics = Meteor().statistics(hypotheses, references)[1]
    for rows in ([0, 0, 1], [2, 1, 0], [0, 0, 0]):
        corpus_score = Meteor().corpus([hypotheses[n] for n in rows], [references[n] for n in rows])
        assert Meteor().from_statistics(statistics[rows].sum(axis=0, keepdims=True))[0] == corpus_score


def test_prepared_references_score_batches(small_table: Paraphrases) -> None:
    references = [[["a", "dog", "runs"], ["dogs", "run"]], [["a", "kid"]]]
    prepared = Meteor().prepare_words(references)
    hypotheses = [["a", "child"], ["a", "dog", "ran"], [], ["never", "seen", "words"]]
    items = [1, 0, 0, 1]
    expected = [
        Meteor().score([" ".join(row)], [[" ".join(each) for each in references[item]]])[0]
        for row, item in zip(hypotheses, items, strict=True)
    ]
    for _ in range(2):
        np.testing.assert_array_equal(prepared.score(hypotheses, items), expected)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        prepared.score([["a"]], [2])


def test_words_that_only_hypotheses_have_are_forgotten(small_table: Paraphrases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.metrics.meteor.metric._MOST_NEW_WORDS", 20)
    prepared: PreparedMeteor = Meteor().prepare_words([[["a", "dog"]]])
    for k in range(30):
        assert prepared.score([["a", "dog", *(f"w{k}x{n}" for n in range(10))]], [0])[0] > 0
        assert len(prepared._table.numbers) <= 2 + 20 + 10


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [[]], "no references"),
        (["a"], [["  "]], "empty"),
        (["a", "b"], [["a"]], "one list of references a hypothesis"),
        ("a b", [["a"]], "wrap it in a list"),
        (["a"], ["a b"], "wrap it in a list"),
        (["a " * 2001], [["a"]], "at most 2000 words"),
    ],
)
def test_what_it_refuses(small_table: Paraphrases, hypotheses: list[str], references: list[list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Meteor().score(hypotheses, references)


@pytest.mark.parametrize(
    "text", ["😀 dog", "مُعَلِّم", "שָׁלוֹם", "well‑known", "a" * 10_000, "\ud800 x", "nul\0byte", "a . . .", "'", "-", "日本語", "İ", "a\u00a0b"]
)
def test_strange_text_is_itself_and_no_dog(small_table: Paraphrases, text: str) -> None:
    same, other = Meteor().score([text, text], [[text], ["runs"]])
    assert same == pytest.approx(1.0)
    assert other == 0.0


@pytest.mark.slow
def test_many_references(small_table: Paraphrases) -> None:
    references = [f"a dog w{k}" for k in range(100_000)] + ["a dog runs"]
    assert Meteor().score(["a dog runs"], [references])[0] == pytest.approx(1.0)


def test_long_sentences_of_one_word(small_table: Paraphrases) -> None:
    score = Meteor().score(["a " * 150], [["a " * 140]])[0]
    assert 0.7 < score <= 1


@settings(max_examples=60, deadline=None)
@given(WORDS, SOME)
def test_scores_lie_between_0_and_1_and_the_order_of_references_does_not_matter(hypothesis: list[str], references: list[list[str]]) -> None:
    prepared = Meteor().prepare_words([references, references[::-1], [*references, hypothesis or ["x"]]])
    scores = prepared.score([hypothesis] * 3, [0, 1, 2])
    assert 0 <= scores.min() and scores.max() <= 1 + 1e-12
    assert scores[0] == scores[1]
    assert scores[2] == pytest.approx(1.0 if hypothesis else 0.0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_normalised_text_has_words_without_spaces(text: str) -> None:
    assert all(word and not any(letter.isspace() for letter in word) for word in normalise(text))


def test_it_has_a_name() -> None:
    metric = metric_by_name("meteor")
    assert metric.described[0] == "METEOR-1.5"
    assert metric.bound == 1.0 and higher_is_better("meteor")
