"""Tests of the stemmer against pairs of the published Snowball vocabulary."""

from __future__ import annotations

import pytest

from seqrl.metrics.meteor.stem import stem

PAIRS = """consign consign consigned consign consignment consign consistency consist consolation consol conspicuously conspicu
    knackeries knackeri knaves knave kneeling kneel knights knight knots knot known known dying die skies sky exceed exceed
    generously generous communication communic happily happili running run hopping hop hoping hope ponies poni caresses caress
    gas gas this this agreed agre luxuriated luxuri nationally nation sensational sensat organization organ electricity electr
    by by say say cry cri enjoy enjoy sky sky news news rolling roll controlled control""".split()


@pytest.mark.parametrize(("word", "stemmed"), list(zip(PAIRS[::2], PAIRS[1::2], strict=True)))
def test_published_pairs(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed
