from __future__ import annotations

import numpy as np
import pytest
from text_metric import SharedWords

from seqrl.metrics.corpus import Corpus
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.mix import MetricMix
from seqrl.metrics.ref_clip import RefClipScore
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.self_cider import SelfCider
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


def test_arrays_are_lists_too() -> None:
    given = checked_sentences(np.array(["a dog", "b"]), (np.array(["c d"]), [np.array(["e", "f"])]))
    assert given == ([["a", "dog"], ["b"]], [[["c", "d"]], [["e", "f"]]])
    with pytest.raises(ValueError, match="expected a list of sentences, got a ndarray"):
        checked_sentences(np.array("a dog"), [["a"]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: DocumentFrequency.from_references({1: ["a dog"], 2: ["a cat"]}),
            "got a dict, whose keys would be scored; give its values",
        ),
        (
            lambda: DocumentFrequency.from_references([["a dog"], {"a cat": 1}]),
            "references of item 1: expected a list of sentences, got a dict",
        ),
        (lambda: ReferenceIndex({1: [[3, 4]], 2: [[5]]}), "expected a list of lists of rows, got a dict"),
        (lambda: ReferenceIndex([[[3, 4]], {5: 6}]), "references of item 1: expected a list of rows, got a dict"),
        (lambda: MetricMix({"cider_d": 1.0}, {1: [[3, 4]], 2: [[5]]}), "expected a list of lists of rows, got a dict"),
        (lambda: Corpus({1: "a"}, {1: ["a"]}), "hypotheses: expected a list of sentences, got a dict"),
        (lambda: SelfCider().score({1: ["a", "b"]}, [["a"]]), "hypotheses: expected a list of lists of captions, got a dict"),
        (lambda: SelfCider().score([{"a": 1, "b": 2}], [["a"]]), "captions of item 0: expected a list of sentences, got a dict"),
        (lambda: SelfCider().score([["a", "b"]], {1: ["a"]}), "references: expected a list of lists of sentences, got a dict"),
        (lambda: RefClipScore().prepare({1: "a.jpg"}), "images: expected a list of images, got a dict"),
        (lambda: RefClipScore().prepare(["a.jpg"], {1: ["a"]}), "references: expected a list of lists of sentences, got a dict"),
    ],
)
def test_what_else_reads_sentences_refuses_mappings(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_references_are_kept_for_a_metric_without_preparation() -> None:
    metric = SharedWords()
    assert isinstance(metric, TextMetric)
    kept = KeptReferences(metric, checked_references([["a dog"], ["two cats"]]))
    assert kept.score([["cats"], ["a", "cat"], []], [1, 0, 1]).tolist() == [1.0, 0.5, 0.0]  # by hand: 1 of 1, 1 of 2, nothing
    with pytest.raises(ValueError, match=r"items must lie in 0..1; got 0..2"):
        kept.score([["a"], ["a"]], [0, 2])
    with pytest.raises(ValueError, match="got 1 hypotheses and 2 items"):
        check_items([["a"]], [0, 1], 2)
