"""chrF and TER: what reaches sacrebleu and comes back, beside sacrebleu's own calls and scores found by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from corpora import published
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.corpus import Corpus
from seqrl.metrics.signature import signature_of

PEERS = {"chrf": CHRF, "ter": TER}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_sacrebleu_on_published_captions(name: str) -> None:
    texts, references, _ = published()
    texts, references = texts[:20], [rows[: 1 + item % 5] for item, rows in enumerate(references[:20])]
    metric: Any = metric_by_name(name)
    alone = [PEERS[name]().sentence_score(text, rows).score for text, rows in zip(texts, references, strict=True)]
    np.testing.assert_allclose(metric.score(texts, references), alone, rtol=0, atol=1e-9)
    streams = [[rows[k] if k < len(rows) else None for rows in references] for k in range(5)]
    assert metric.corpus(texts, references) == pytest.approx(PEERS[name]().corpus_score(texts, streams).score, abs=1e-9)
    items = list(range(19, -1, -1))
    prepared = metric.prepare_words([[text.split() for text in rows] for rows in references])
    np.testing.assert_allclose(prepared.score([texts[item].split() for item in items], items), alone[::-1], rtol=0, atol=1e-9)


def test_by_hand() -> None:
    # one of two words exchanged: 1 edit over 2 words; a block that moves is one edit of 5 words
    assert metric_by_name("ter").score(["a b", "c d e a b"], [["a c"], ["a b c d e"]]) == pytest.approx([50.0, 20.0])
    assert metric_by_name("ter").score([""], [["a c"]]) == pytest.approx([100.0])
    # "ab" against "ac": one of two characters, and none of one pair: mean precision and recall 1/4
    assert metric_by_name("chrf").score(["ab"], [["ac", "xyz"]]) == pytest.approx([25.0])


def test_settings_reach_sacrebleu_and_the_signature() -> None:
    assert metric_by_name("chrf", lowercase=True).score(["AB"], [["ab"]]) == pytest.approx([100.0])
    assert metric_by_name("chrf").score(["AB"], [["ab"]]) == pytest.approx([0.0])
    assert metric_by_name("ter", case_sensitive=True).score(["A b"], [["a b"]]) == pytest.approx([50.0])
    assert metric_by_name("chrf", word_order=2).corpus(["a b c"], [["a c"]]) == pytest.approx(
        CHRF(word_order=2).corpus_score(["a b c"], [["a c"]]).score
    )
    assert str(signature_of("chrf", version="1")) == "chrF|case:mixed|beta:2|nc:6|nw:0|space:no|version:1"
    assert str(signature_of(metric_by_name("chrf", word_order=2), version="1")).startswith("chrF++|")
    assert str(signature_of("ter", version="1")) == "TER|tok:tercom-nonorm-punct-noasian|case:lower|version:1"


def texts_of_few_letters(seed: int, num_items: int, letters: str) -> tuple[list[str], list[list[str]]]:
    """Few letters, so that long n-grams match and repeat; some hypotheses are empty, or have letters that no reference has."""
    rng = random.Random(seed)

    def text(low: int) -> str:
        return "".join(rng.choices(letters + " ", k=rng.randint(low, 20)))

    references = [["a" + text(0) for _ in range(rng.randint(1, 4))] for _ in range(num_items)]
    return [text(0) + "?" * (item % 7 == 0) for item in range(num_items)], references


@pytest.mark.parametrize("settings", [{}, {"lowercase": True}, {"whitespace": True}, {"beta": 1, "char_order": 3}, {"word_order": 2}])
def test_prepared_references_score_as_sacrebleu_does(settings: dict[str, Any]) -> None:
    texts, references = texts_of_few_letters(1, 60, "abAé\u0301\U0001f642")
    words, lists = [text.split() for text in texts], [[text.split() for text in rows] for rows in references]
    peer, metric = CHRF(**settings), metric_by_name("chrf", **settings)
    expected = [peer.sentence_score(" ".join(h), [" ".join(r) for r in rs]).score for h, rs in zip(words, lists, strict=True)]
    assert min(expected) == 0 < max(expected)
    items = list(range(60))[::-1]
    scores = metric.prepare_words(lists).score([words[item] for item in items], items)
    np.testing.assert_allclose(scores[::-1], expected, rtol=0, atol=1e-9)


def test_more_characters_than_whole_numbers_hold() -> None:
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
    metric = metric_by_name("chrf")
    expected = CHRF().sentence_score(many[100:], [many]).score
    assert metric.prepare_words([[[many]], [["a"]]]).score([[many[100:]]], [0]) == pytest.approx([expected], abs=1e-9)
    assert metric.prepare_words([[[many[:1000]]]]).score([[many[100:1000]]], [0]) == pytest.approx(
        [CHRF().sentence_score(many[100:1000], [many[:1000]]).score], abs=1e-9
    )


def test_ter_of_long_texts_is_refused_before_it_takes_minutes() -> None:
    metric, long = metric_by_name("ter"), "a b c d e " * 101
    message = "TER looks for moves in texts of at most 500 words, got one of 505"
    prepared = metric.prepare_words([[["a", "b"]]])
    for call in (
        lambda: metric.score([long], [["a"]]),
        lambda: metric.corpus(["a"], [["a", long]]),
        lambda: metric.prepare_words([[long.split()]]),
        lambda: prepared.score([long.split()], [0]),
        lambda: Corpus([long], [["a"]]).statistics(metric),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert metric.score([long[:1000]], [[long[:1000]]]).tolist() == [0.0]
