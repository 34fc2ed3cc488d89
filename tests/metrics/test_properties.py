"""Properties that every metric of the table has, on text of every kind: hypothesis draws it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from corpora import NEED_FILES
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqrl.metrics.by_name import METRICS, metric_by_name

# A hypothesis is a list of captions; tests/metrics/test_diversity.py.
NEED_LISTS = {"self_cider"}
NEED_OTHERS = {"corpus_bleu_gain"}  # a sentence has no score without the others
NAMES = sorted(set(METRICS) - NEED_FILES - NEED_LISTS - NEED_OTHERS)
PLAIN = [["a brown dog runs on the wet grass"], ["two small children sit at a table"], ["the red bus"]]

ODD_WORDS = [
    *("\U0001f642", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea"),  # emoji, joined ones, a flag
    *("مرحبا", "مُعَلِّم", "שָׁלוֹם", "\u202eabc", "\u200f"),  # right to left, and marks that turn the direction
    *("e\u0301", "\u0301", "a\u0300\u0316\u0327" * 5, "日本語", "ไทย"),
    *("\0", "a\0b", "\ud800", "x\udfff", "\ufeff", "\ue000"),
    *("&lt;tag&gt;", "<b>", "'s", "--", "1/2", "$5.00", "U.S.", "-LRB-", "|||", "</s>", "{0}", "%s", "\\n"),
]
WORDS = (
    st.sampled_from(["a", "dog", "dogs", "runs", "red", "two", "on", "grass", "A", "."]) | st.sampled_from(ODD_WORDS) | st.text(max_size=4)
)
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)
FILLED = TEXTS.filter(lambda text: bool(text.split()))
ITEMS = st.lists(st.tuples(TEXTS, st.lists(FILLED, min_size=1, max_size=3)), min_size=2, max_size=3)
LONG = "x" * 10_000
EXAMPLES = (
    [("", ["a dog"]), (LONG, [LONG, "a"]), ("a " * 300, ["a b"])],
    [("\ud800", ["\0"]), ("\u0301", ["e\u0301", "\ue000"]), (" ".join(ODD_WORDS), [" ".join(ODD_WORDS[::-1])])],
)


@cache
def usable(name: str) -> Any:
    """A metric, or None where a file that it needs is not there."""
    metric = metric_by_name(name)
    try:
        metric.corpus([rows[0] for rows in PLAIN], PLAIN)
    except (FileNotFoundError, ModuleNotFoundError):
        return None
    return metric


def metric_of(name: str) -> Any:
    metric = usable(name)
    if metric is None:
        pytest.skip(f"{name} needs a file or a package that is not here")
    return metric


def limits(metric: Any) -> tuple[float, float]:
    return getattr(metric, "least", 0.0), metric.bound


def gain(metric: Any, scores: Any) -> Any:
    """Scores where more is better."""
    return scores if getattr(metric, "higher_is_better", True) else -scores


def check_scores(name: str, items: list[tuple[str, list[str]]]) -> None:
    metric = metric_of(name)
    texts, references = [text for text, _ in items], [rows for _, rows in items]
    least, bound = limits(metric)
    corpus_score = metric.corpus(texts, references)
    assert least - 1e-9 <= corpus_score <= bound + 1e-9, corpus_score
    if getattr(metric, "scores_corpus_only", False):
        return
    scores = metric.score(texts, references)
    assert scores.shape == (len(items),) and scores.dtype == np.float64
    assert np.isfinite(scores).all() and (scores >= least - 1e-9).all() and (scores <= bound + 1e-9).all(), scores
    turned = metric.score(texts, [rows[::-1] for rows in references])
    np.testing.assert_allclose(turned, scores, rtol=1e-9, atol=1e-9, err_msg="the order of references matters")
    empty = metric.score([""] * len(items), references)
    assert np.isfinite(empty).all() and (gain(metric, empty) <= 1e-9).all(), "an empty hypothesis is worth something"
    itself = metric.score([rows[0] for rows in references], [rows[:1] for rows in references])
    other = metric.score(texts, [rows[:1] for rows in references])
    assert (gain(metric, itself) >= gain(metric, other) - 1e-9).all(), "another hypothesis beats the reference itself"
    if hasattr(metric, "prepare_words"):
        words, order = [text.split() for text in texts], list(range(len(items)))[::-1]
        prepared = metric.prepare_words([[text.split() for text in rows] for rows in references])
        as_words = metric.score(words, [[text.split() for text in rows] for rows in references])
        np.testing.assert_allclose(prepared.score(words[::-1], order), as_words[::-1], rtol=1e-9, atol=1e-9)


def each_example(test: Callable[..., None]) -> Callable[..., None]:
    for items in EXAMPLES:
        test = example(items=items)(test)
    return test


FAST = settings(max_examples=5, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", NAMES)
@FAST
@given(items=ITEMS)
@each_example
def test_any_text(name: str, items: list[tuple[str, list[str]]]) -> None:
    check_scores(name, items)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(FAST, max_examples=40)
@given(items=ITEMS)
def test_much_more_of_any_text(name: str, items: list[tuple[str, list[str]]]) -> None:
    check_scores(name, items)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_itself_is_the_best_there_is(name: str) -> None:
    metric = metric_of(name)
    if getattr(metric, "scores_corpus_only", False):
        pytest.skip(f"{name} compares with no reference")
    texts, references = [rows[0] for rows in PLAIN[:2]], PLAIN[:2]
    best = metric.bound if getattr(metric, "higher_is_better", True) else 0.0
    np.testing.assert_allclose(metric.score(texts, references), best, rtol=1e-6, atol=1e-9)
    assert metric.corpus(texts, references) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("texts", "references"),
    [
        (["a", "b"], [["a"], []]),
        (["a", "b"], [["a"], ["b", ""]]),
        (["a", "b"], [["a"], [" \t"]]),
        (["a", "b"], [["a"], ["b"], ["c"]]),
        (["a", "b"], [["a"]]),
        ("a b", [["a"], ["b"], ["c"]]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_what_cannot_be_scored_is_refused(name: str, texts: Any, references: Any) -> None:
    metric = metric_of(name)
    with pytest.raises(ValueError, match=r"expected|item 1|empty|item 0|at least|give") as told:
        metric.corpus(texts, references)
    assert "zip()" not in str(told.value)
    if texts and not getattr(metric, "scores_corpus_only", False):
        with pytest.raises(ValueError, match=r"expected|item|empty|at least") as told:
            metric.score(texts, references)
        assert "zip()" not in str(told.value)
    if hasattr(metric, "prepare_words") and any(not rows or not all(map(str.strip, rows)) for rows in references):
        with pytest.raises(ValueError, match=r"item 1|no score|none for each"):
            metric.prepare_words([[text.split() for text in rows] for rows in references])


NO_LISTS: tuple[tuple[Callable[[], Any], Callable[[], Any], str], ...] = (  # made anew each time: an iterator can be read once
    (lambda: {"a dog": 0, "b": 1}, lambda: [["a"], ["b"]], "hypotheses.* expected a list of sentences, got a dict"),
    (lambda: ["a", "b"], lambda: {0: ["a"], 1: ["b"]}, "references: expected a list of lists of sentences, got a dict"),
    (lambda: ["a", "b"], lambda: [["a"], {"b": 1}], "references of item 1: expected a list of sentences, got a dict"),
    (lambda: (text for text in ["a", "b"]), lambda: [["a"], ["b"]], "hypotheses.* got a generator.* list"),
    (lambda: ["a", "b"], lambda: iter([["a"], ["b"]]), "references.* got a list_iterator.* list"),
    (lambda: ["a", "b"], lambda: [["a"], (text for text in "b")], "references of item 1.* got a generator"),
    (lambda: {"a", "b"}, lambda: [["a"], ["b"]], "hypotheses.* got a set, which has no order"),
    (lambda: None, lambda: [["a"], ["b"]], "hypotheses: expected a list of sentences, got None"),
    (lambda: ["a", "b"], lambda: None, "references: expected a list of lists of sentences, got None"),
    (lambda: ["a", "b"], lambda: [["a"], None], "references of item 1.* got None"),
    (lambda: ["a", "b"], lambda: [["a"], 3], "references of item 1.* got the int 3"),
    (lambda: ["a", "b"], lambda: "a b", "references are one string"),
    (lambda: ["a", "b"], lambda: [["a"], b"b"], "references of item 1.* got bytes"),
    (lambda: ["a", None], lambda: [["a"], ["b"]], "expected a sentence.* got NoneType"),
    (lambda: ["a", {"b": 1}], lambda: [["a"], ["b"]], "expected a sentence.* got a dict"),
    (lambda: ["a", (word for word in "b")], lambda: [["a"], ["b"]], "expected a sentence.* got a generator"),
    (lambda: ["a", [3, 4]], lambda: [["a"], ["b"]], "expected a sentence.* word .* got the int 3"),
    (lambda: ["a", [["b"]]], lambda: [["a"], ["b"]], r"expected a sentence.* word .* got the list \['b'\].* one list too many"),
    (lambda: ["a", "b"], lambda: [["a"], [[["b"]]]], "expected a sentence.* one list too many"),
    (lambda: ["a", "b"], lambda: [["a"], [2.5]], "expected a sentence.* got float"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_list_of_sentences_is_refused(name: str) -> None:
    metric = metric_of(name)
    for make_texts, make_references, told in NO_LISTS:
        if make_references() is None and hasattr(metric, "scores_corpus_only"):
            continue  # it needs none
        with pytest.raises(ValueError, match=told):
            metric.corpus(make_texts(), make_references())
        if getattr(metric, "scores_corpus_only", False):
            continue
        with pytest.raises(ValueError, match=told):
            metric.score(make_texts(), make_references())
    if hasattr(metric, "prepare_words") and not hasattr(metric, "scores_corpus_only"):
        prepared = metric.prepare_words([[["a"]], [["b"]]])
        for wrong, told in (({0: ["a"]}, "got a dict"), ((words for words in [["a"]]), "got a generator"), ("a", "one string")):
            with pytest.raises(ValueError, match=told):
                prepared.score(wrong, [0])
        for wrong, told in (({0: [["a"]], 1: [["b"]]}, "got a dict"), ([[["a"]], {"b": 1}], "item 1.* got a dict")):
            with pytest.raises(ValueError, match=told):
                metric.prepare_words(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_says_its_range(name: str) -> None:
    metric = metric_of(name)
    assert metric.bound > 0 and (math.isinf(metric.bound) or metric.bound in (1.0, 5.5, 10.0, 100.0)), metric.bound
    assert isinstance(getattr(metric, "higher_is_better", True), bool)


@pytest.mark.parametrize("name", ["cider_d", "bleu4", "rouge_l"])
def test_too_many_references_are_refused_before_memory_is_taken(name: str) -> None:
    many = [f"w{number} w{number + 1} w{number + 2} w{number + 3}" for number in range(100_000)]
    with pytest.raises(ValueError, match=r"item 0 has 100000 references with 400000 words.* give it fewer references"):
        metric_of(name).corpus(["w1 w2", "a"], [many, ["a"]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bleu4", "cider_d", "edit_distance", "exact_match", "rouge1", "rouge_lsum", "slot_error", "wer"])
def test_a_hundred_thousand_references_work_or_are_refused(name: str) -> None:
    many = [f"w{number} w{number + 1} w{number + 2} w{number + 3}" for number in range(100_000)]
    metric = metric_of(name)
    try:
        assert math.isfinite(metric.corpus([many[7], "a"], [many, ["a"]]))
    except ValueError as error:
        assert "fewer references" in str(error)
