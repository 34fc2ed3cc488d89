"""chrF and TER: what reaches sacrebleu and comes back, beside sacrebleu's own calls and figures found by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpora import published
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seqrl.metrics.by_name import metric_by_name
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
