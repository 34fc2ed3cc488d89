"""distinct-n, vocabulary and self-CIDEr, against numbers found by hand and pycocoevalcap's n-grams."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from corpora import published
from pycocoevalcap.cider.cider_scorer import precook

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.document_frequency import DocumentFrequency

TEXTS = ["a b a", "a b", "c", ""]


def test_distinct_by_hand() -> None:
    assert metric_by_name("distinct1").corpus(TEXTS) == pytest.approx(3 / 6)
    # a b, b a: over 6 words, or over 3 pairs
    assert metric_by_name("distinct2").corpus(TEXTS) == pytest.approx(2 / 6)
    assert metric_by_name("distinct2", over="ngrams").corpus(TEXTS, [["x"]] * 4) == pytest.approx(2 / 3)
    assert metric_by_name("vocabulary").corpus([text.split() for text in TEXTS]) == 3.0
    assert metric_by_name("distinct1").corpus([""]) == 0.0


@pytest.mark.parametrize("name", ["distinct1", "distinct2", "vocabulary"])
def test_what_scores_a_corpus_only_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has one score for all hypotheses together"):
        metric_by_name(name).prepare_words([[["a"]]])
    with pytest.raises(ValueError, match="it is no reward"):
        metric_by_name(name).score(["a"], [["a"]])


def test_settings_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="expected one of words, ngrams"):
        metric_by_name("distinct1", over="tokens")
    with pytest.raises(ValueError, match="at least 1 word"):
        metric_by_name("distinct1", n=0)


def by_definition(captions: list[str], references: list[list[str]]) -> float:
    """Cosines of tf-idf vectors, written from the paper on pycocoevalcap's n-grams; the published formula on NumPy's singular values."""
    documents: dict[tuple[str, ...], int] = defaultdict(int)
    for rows in references:
        for gram in {gram for row in rows for gram in precook(row, 4)}:
            documents[gram] += 1
    vectors = []
    for caption in captions:
        parts = []
        for n in range(1, 5):
            part = {
                gram: count * math.log(len(references) / max(1, documents[gram]))
                for gram, count in precook(caption, 4).items()
                if len(gram) == n
            }
            length = math.sqrt(sum(value**2 for value in part.values()))
            parts.append({gram: value / length for gram, value in part.items()} if length else {})
        vectors.append({gram: value / 2 for part in parts for gram, value in part.items()})  # 1/4 of each cosine
    grams = sorted({gram for vector in vectors for gram in vector})
    singular = np.linalg.svd(np.array([[vector.get(gram, 0.0) for gram in grams] for vector in vectors]), compute_uv=False)
    return -math.log(singular[0] / singular.sum()) / math.log(len(captions))


def test_self_cider_by_definition() -> None:
    _, references, _ = published()
    captions, references = references[:12], references[:60]
    captions = [rows[: 2 + item % 4] for item, rows in enumerate(captions)]
    frequency = DocumentFrequency.from_references(references)
    expected = [by_definition(rows, references) for rows in captions]
    np.testing.assert_allclose(metric_by_name("self_cider", document_frequency=frequency).score(captions), expected, rtol=0, atol=1e-9)
    own = [by_definition(rows, references[:12]) for rows in captions]
    metric = metric_by_name("self_cider")
    np.testing.assert_allclose(metric.score(captions, references[:12]), own, rtol=0, atol=1e-9)
    assert metric.corpus(captions, references[:12]) == pytest.approx(np.mean(own))


def test_self_cider_of_the_same_and_of_strangers() -> None:
    references = [["a b c d", "e f g h"], ["i j k l"], ["m n o p"]]
    scores = metric_by_name("self_cider").score([["a b c d"] * 3, ["a b c d", "e f g h"], ["a b c d", ""]], references)
    np.testing.assert_allclose(scores, [0.0, 1.0, 0.0], rtol=0, atol=1e-7)


def test_self_cider_refuses_single_captions() -> None:
    metric = metric_by_name("self_cider")
    with pytest.raises(ValueError, match="expected several captions of each image, got one: call SelfCider"):
        metric.corpus(["a dog", "a cat"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="expected several captions of each image, got 1 for item 0"):
        metric.score([["a dog"], ["a cat", "b"]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="give references, or document_frequency"):
        metric.score([["a dog", "b"]])
