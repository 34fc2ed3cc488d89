"""Exact match, edit distance, word error rate and slot errors, against brute force and numbers found by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from corpora import as_text, random_corpus

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.slots import SlotErrorRate, SlotErrors, slot_error_rate, slot_errors


def brute_force(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """All ways of turning one into the other, by the definition."""

    @cache
    def least(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return len(one) - i + len(other) - j
        return min(least(i + 1, j) + 1, least(i, j + 1) + 1, least(i + 1, j + 1) + (one[i] != other[j]))

    return least(0, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_edits_by_brute_force(seed: int) -> None:
    rows, lists = random_corpus(seed, num_items=20, vocabulary=4)
    hypotheses, references = as_text(rows), [as_text(each) for each in lists]
    edits = [[brute_force(tuple(h.split()), tuple(r.split())) for r in rs] for h, rs in zip(hypotheses, references, strict=True)]
    rates = [[e / len(r.split()) for e, r in zip(es, rs, strict=True)] for es, rs in zip(edits, references, strict=True)]
    np.testing.assert_array_equal(metric_by_name("edit_distance").score(hypotheses, references), [min(each) for each in edits])
    np.testing.assert_allclose(metric_by_name("wer").score(hypotheses, references), [min(each) for each in rates])
    prepared = metric_by_name("wer").prepare_words([[text.split() for text in each] for each in references])
    items = list(range(len(rows)))[::-1]
    np.testing.assert_allclose(prepared.score([hypotheses[item].split() for item in items], items), [min(rates[item]) for item in items])


def test_word_error_rate_of_a_corpus_divides_all_edits_by_all_words() -> None:
    # 1 edit of 4 words, 2 edits of 2 words; "a b" is nearer to "a b c d" (2/4) than to "x" (2/1)
    metric = metric_by_name("wer")
    assert metric.corpus(["a b c x", "y z"], [["a b c d"], ["u v"]]) == pytest.approx(3 / 6)
    assert metric.score(["a b", "", "a a a"], [["x", "a b c d"], ["a b"], ["a"]]) == pytest.approx([0.5, 1.0, 2.0])


def test_exact_match() -> None:
    metric = metric_by_name("exact_match")
    assert metric.score(["a  b", ["b", "a"], ""], [["c", "a b"], ["a b"], ["a"]]).tolist() == [1.0, 0.0, 0.0]
    assert metric.corpus(["a b", "b"], [["a b"], ["a"]]) == 0.5
    assert metric.prepare_words([[["a"]], [["b", "c"]]]).score([["b", "c"], ["b"], ["a"]], [1, 1, 0]).tolist() == [1.0, 0.0, 1.0]


def test_slot_errors_by_hand() -> None:
    errors = slot_errors(["name", "area", "area"], ["name", "area", "food"])
    assert errors == SlotErrors(missing=1, redundant=1, required=3)
    # an act without slots adds errors, and no slots, to the corpus
    assert slot_error_rate([errors, slot_errors(["phone"], [])]) == pytest.approx(3 / 3)
    assert slot_errors([], ["a", "a"]).rate == 1.0 and slot_errors(["a", "b"], []).rate == 2.0
    with pytest.raises(ValueError, match="none that requires any"):
        slot_error_rate([slot_errors(["a"], [])])


def test_slots_of_delexicalised_text() -> None:
    metric = SlotErrorRate(prefix="SLOT_")
    required = [["SLOT_NAME serves SLOT_FOOD in SLOT_AREA"], ["SLOT_NAME"]]
    hypotheses = ["SLOT_NAME is in SLOT_AREA , SLOT_AREA !", "it is SLOT_NAME"]
    assert metric.score(hypotheses, required) == pytest.approx([2 / 3, 0.0])
    assert metric.corpus(hypotheses, required) == pytest.approx(2 / 4)
    assert metric_by_name("slot_error").score([["food", "name"], []], [[["name", "food"]], [["name"]]]).tolist() == [0.0, 1.0]
    prepared = metric.prepare_words([[text.split() for text in rows] for rows in required])
    assert prepared.score([hypotheses[1].split(), hypotheses[0].split()], [1, 0]) == pytest.approx([0.0, 2 / 3])


def test_keywords_say_slots_without_a_value() -> None:
    metric = SlotErrorRate(prefix="SLOT_", keywords="kids=child,kid,children wifi=internet,wifi")
    reference = [["SLOT_NAME welcomes every kid and has internet"]]
    said = ["SLOT_NAME has wifi and is for children", "SLOT_NAME has internet", "SLOT_NAME : child or kid , wifi", "children"]
    assert metric.score(said, reference * 4).tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])  # by hand
    assert metric.corpus(said, reference * 4) == pytest.approx(4 / 12)
    assert metric.prepare_words([["SLOT_NAME has wifi".split()]]).score(["SLOT_NAME"], [0]).tolist() == [0.5]
    assert SlotErrorRate(prefix="SLOT_").score(said[:1], reference).tolist() == [0.0]
    assert metric.described[1] == {"slots": "SLOT_* kids=child,kid,children wifi=internet,wifi"}


@pytest.mark.parametrize("text", ["kids", "kids=", "=kid", "kids=kid,", "kids=kid boys=kid"])
def test_keywords_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="keywords: expected slot=word,word"):
        SlotErrorRate(prefix="SLOT_", keywords=text)
    with pytest.raises(ValueError, match="keywords: expected a prefix"):
        SlotErrorRate(keywords="kids=kid")


@pytest.mark.parametrize("name", ["edit_distance", "wer", "exact_match", "slot_error"])
def test_items_that_are_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=r"0\.\.0"):
        metric_by_name(name).prepare_words([[["a"]]]).score([["a"]], [1])
