from __future__ import annotations

import pytest
from text_metric import SharedWords

from seqrl.metrics.text_scores import KeptReferences, TextMetric, check_items, checked_references, checked_sentences


def test_sentences_are_split_and_lists_taken_as_they_are() -> None:
    given = checked_sentences(["a dog", ["new york", "runs"], ""], [["the dog", ["x"]], ["y z"], ["u"]])
    assert given == ([["a", "dog"], ["new york", "runs"], []], [[["the", "dog"], ["x"]], [["y", "z"]], [["u"]]])


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [["a"], ["b"]], "got 1 hypotheses and 2 lists"),
        ("a dog", [["a"]], "the hypotheses are one string"),
        (["a", "b"], [["a"], "b"], "the references of item 1 are one string"),
        (["a", "b"], [["a"], []], "item 1 has no references"),
        (["a", "b"], [["a"], ["b", " "]], "reference 1 of item 1 is empty"),
        ([b"a dog"], [["a"]], "expected a sentence, text or a list of words, got bytes b'a dog'; decode"),
        ([None], [["a"]], "expected a sentence, text or a list of words, got NoneType"),
        (["a"], [[3]], "expected a sentence, text or a list of words, got int '3'"),
    ],
)
def test_what_has_no_score_is_refused(hypotheses, references, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_sentences(hypotheses, references)


def test_references_are_kept_for_a_metric_without_preparation() -> None:
    metric = SharedWords()
    assert isinstance(metric, TextMetric)
    kept = KeptReferences(metric, checked_references([["a dog"], ["two cats"]]))
    assert kept.score([["cats"], ["a", "cat"], []], [1, 0, 1]).tolist() == [1.0, 0.5, 0.0]  # by hand: 1 of 1, 1 of 2, nothing
    with pytest.raises(ValueError, match=r"items must lie in 0..1; got 0..2"):
        kept.score([["a"], ["a"]], [0, 2])
    with pytest.raises(ValueError, match="got 1 hypotheses and 2 items"):
        check_items([["a"]], [0, 1], 2)
