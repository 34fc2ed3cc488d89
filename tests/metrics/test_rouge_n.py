"""ROUGE-1, ROUGE-2 and ROUGE-Lsum against the package rouge-score."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from corpora import published
from rouge_score.rouge_scorer import RougeScorer

from seqrl.metrics.by_name import metric_by_name

TYPES = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_lsum": "rougeLsum"}
PIECES = [
    "Don't",
    "the cat",
    "a",
    "cats' running",
    "U.S.A.",
    "naïve café",
    "3,000",
    "\n",
    "\n\n",
    "\t",
    "…",
    "don’t",
    "b c b",
    "c b c",
    "مرحبا",
    "_x_",
]


def peer(name: str, texts: list[str], references: list[list[str]], *, stem: bool = False) -> list[float]:
    scorer = RougeScorer([TYPES[name]], use_stemmer=stem)
    return [scorer.score_multi(rows, text)[TYPES[name]].fmeasure for text, rows in zip(texts, references, strict=True)]


def random_texts(seed: int, num_items: int) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(PIECES, k=rng.randint(1, 14)))

    return [text() for _ in range(num_items)], [[f"a {text()}" for _ in range(rng.randint(1, 4))] for _ in range(num_items)]


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_on_random_text(name: str, stem: bool) -> None:
    texts, references = random_texts(3, 50)
    scores = metric_by_name(name, stem=stem).score(texts, references)
    np.testing.assert_allclose(scores, peer(name, texts, references, stem=stem), rtol=0, atol=1e-9)
    assert 0 < scores.min() or (scores == 0).any()


@pytest.mark.parametrize("name", TYPES)
def test_on_published_captions(name: str) -> None:
    texts, references, _ = published()
    metric: Any = metric_by_name(name)
    expected = peer(name, texts[:60], references[:60])
    np.testing.assert_allclose(metric.score(texts[:60], references[:60]), expected, rtol=0, atol=1e-9)
    items = list(range(59, -1, -1))
    words = [[text.split() for text in rows] for rows in references[:60]]
    prepared = metric.prepare_words(words).score([texts[item].split() for item in items], items)
    np.testing.assert_allclose(prepared, expected[::-1], rtol=0, atol=1e-9)
    assert metric.corpus(texts[:60], references[:60]) == pytest.approx(np.mean(expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPES)
def test_on_all_published_captions_and_much_random_text(name: str) -> None:
    texts, references, _ = published()
    for stem in (False, True):
        np.testing.assert_allclose(
            metric_by_name(name, stem=stem).score(texts, references), peer(name, texts, references, stem=stem), rtol=0, atol=1e-9
        )
        more = random_texts(4, 1000)
        np.testing.assert_allclose(metric_by_name(name, stem=stem).score(*more), peer(name, *more, stem=stem), rtol=0, atol=1e-9)


def test_by_hand_and_in_signatures() -> None:
    # 3 of 4 words shared with a reference of 3: P 3/4, R 1; the union of "a b" and "c d" with "a x c d" has a, c and d
    assert metric_by_name("rouge1").score(["a b c d"], [["x y", "A, b... C"]]) == pytest.approx(2 * 0.75 / 1.75)
    assert metric_by_name("rouge_lsum").score(["a b\nc d"], [["a x c d"]]) == pytest.approx(0.75)
    assert metric_by_name("rouge2", stem=True).described == ("ROUGE-2", {"tok": "rouge", "stem": True})


def test_an_impossible_n_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 word"):
        metric_by_name("rouge1", n=0)
