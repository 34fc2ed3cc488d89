"""Metrics as reward functions of TRL: the numbers are those of the metrics themselves, whatever form completions have."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqrl.metrics import CiderD, DocumentFrequency, ptb_tokenize
from seqrl.metrics.bleu import Bleu
from seqrl.metrics.by_name import METRICS, higher_is_better, needs_images, needs_model, scores_corpus_only
from seqrl.metrics.trl import completion_text, reward

REFERENCES = [["A red dog runs.", "The dog runs fast!"], ["Two cats sleep."], ["A bird sings, loudly."]]
TEXTS = ["a dog runs", "Two cats sleep.", ""]
OTHERS = {"spice_official", "meteor", "spice", "spider"}  # need Java, or tables that take a while to read


def test_cider_d_is_that_of_the_corpus_that_was_given() -> None:
    words = [[ptb_tokenize(text) for text in row] for row in REFERENCES]
    frequency = DocumentFrequency.from_references(words)
    expected = CiderD(document_frequency=frequency).score([ptb_tokenize(text) for text in TEXTS[1:]], words[1:])
    given = reward("cider_d", document_frequency=REFERENCES)
    assert given.__name__ == "cider_d"
    columns = {"prompts": ["p"] * 2, "completion_ids": [[1], [2]], "trainer_state": None, "references": REFERENCES[1:]}
    np.testing.assert_allclose(given(completions=TEXTS[1:], **columns), expected)
    assert expected[0] > 0
    again = pickle.loads(pickle.dumps(given))
    assert again(completions=TEXTS[1:], **columns) == given(completions=TEXTS[1:], **columns)


def test_frequencies_may_be_counted_or_saved_before(tmp_path: Path) -> None:
    words = [[ptb_tokenize(text) for text in row] for row in REFERENCES]
    frequency = DocumentFrequency.from_references(words)
    frequency.save(tmp_path / "df.npz")
    scores = [
        reward("cider_d", document_frequency=each)(completions=TEXTS, references=REFERENCES)
        for each in (REFERENCES, frequency, tmp_path / "df.npz")
    ]
    assert scores[0] == scores[1] == scores[2]


FAST = [name for name in METRICS if not (scores_corpus_only(name) or needs_model(name) or name in OTHERS)]


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in ("meteor", "spider"))])
def test_every_metric_can_be_one(name: str) -> None:
    sign = 1.0 if higher_is_better(name) else -1.0
    counted = {"document_frequency": REFERENCES} if name in ("cider", "cider_d", "cider_r", "spider") else {}
    settings = {name: {"prefix": "SLOT_"}} if name == "slot_error" else {}
    given = reward({name: sign}, settings=settings, **counted)  # type: ignore[arg-type]
    good, bad = given(completions=["Two cats sleep.", "sleep a a a"], references=[REFERENCES[1]] * 2)
    assert good is not None and bad is not None and good >= bad
    assert good > bad or name in ("slot_error", "length_error")


def test_weights_columns_and_messages() -> None:
    given = reward({"bleu1": 2.0, "exact_match": 1.0}, references="answers", tokens="spaces", name="mine")
    assert given.__name__ == "mine"
    messages = [[{"role": "assistant", "content": None}, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "two cats"}]]
    bleu = Bleu(max_n=1).score([["two", "cats"]], [[["two", "cats", "sleep"]]])[0]
    assert given(completions=messages, answers=["two cats sleep"]) == pytest.approx([2 * bleu])
    assert given(completions=[[{"role": "assistant", "content": "hi"}]], answers=["hi"]) == pytest.approx([3.0])


def test_a_row_without_references_gets_none() -> None:
    given = reward("bleu1")
    assert given(completions=["a", "b", "c"], references=[None, "b", []]) == [None, pytest.approx(1.0), None]
    assert given(completions=["a"], references=[None]) == [None]


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("hi", "hi"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a "}, {"type": "image"}, {"type": "text", "text": "b"}]}], "a b"),
        ([{"role": "assistant", "content": None}], ""),
        ([], ""),
    ],
)
def test_texts_of_completions(completion: Any, text: str) -> None:
    assert completion_text(completion) == text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"metrics": "ciderd"}, "unknown metric 'ciderd': did you mean 'cider_d'"),
        ({"metrics": "cider_d"}, r"rows of a batch are no corpus; give document_frequency=data\['references'\]"),
        ({"metrics": "bleu4", "document_frequency": REFERENCES}, "expected none, since bleu4 does not weigh"),
        ({"metrics": {}}, "expected a metric's name, or weights by name"),
        ({"metrics": ["bleu4"]}, "expected a metric's name, or weights by name"),
        ({"metrics": {"bleu4": "1"}}, "metrics.bleu4: expected a finite number as its weight"),
        ({"metrics": "wer"}, r"metrics.wer: expected a weight below 0, since less is better there, got 1.0; write \{wer: -1.0\}"),
        ({"metrics": "distinct1"}, "one score for all texts together"),
        ({"metrics": "bleu4", "settings": {"chrf": {}}}, "settings: expected those of bleu4, got some of chrf"),
        ({"metrics": "bleu4", "tokens": "words"}, "tokens: expected one of ptb"),
        ({"metrics": "cider_d", "document_frequency": REFERENCES[:1]}, "need at least 2 images"),
        ({"metrics": "cider_d", "document_frequency": [3, 4]}, "column 'document_frequency': expected a text or a list of texts"),
    ],
)
def test_what_makes_no_reward_is_told(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        reward(**given)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"answers": ["b"]}, "expected a column 'references' in the data set, which has answers"),
        ({"references": ["b", "c"]}, "expected 1 rows in the column 'references', got 2"),
        ({"references": [3]}, "column 'references': expected a text or a list of texts in each row, got 3"),
        ({"references": [["b", None]]}, "expected a text or a list of texts in each row"),
        ({"references": ["b"], "completions": [3]}, "expected a completion as a text or a list of messages, got 3"),
    ],
)
def test_wrong_columns_are_told(columns: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        reward("bleu4")(**{"completions": ["a"], **columns})


def test_what_looks_at_images_asks_for_their_column() -> None:
    assert [name for name in METRICS if needs_images(name)] == ["ref_clip_score"]
    given = reward("ref_clip_score", settings={"ref_clip_score": {"model": "none"}})
    with pytest.raises(ValueError, match="expected a column 'image' in the data set, which has references"):
        given(completions=["a"], references=["b"])
