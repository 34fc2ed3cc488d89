"""What holds of SPICE whatever the captions are."""

from __future__ import annotations

import numpy as np
from graphs import SYNONYMS, as_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqrl.metrics.spice import Spice

NAMES = st.sampled_from(["man", "guy", "male", "fellow", "big", "large", "in_front_of", "before", "dog", "red", "two"])
TUPLES = st.lists(st.lists(NAMES, min_size=1, max_size=3).map(":".join), max_size=6).map(" ".join)
BY_HAND = Spice(parser=as_graph, synonyms=SYNONYMS)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

WORDS = st.sampled_from(
    """a the two dogs man men woman is are standing running next to in front of on with red and his her it who that wearing ball 's
    n't not be by of while there -lrb- , 3 1/2 grey-haired""".split()
)
ODD = st.one_of(
    st.text(max_size=12).filter(str.strip), st.sampled_from(["😀", "\ud800", "שלום", "مُعَلِّم", "a\0b", "x" * 10_000, "n\u0303", "‍"])
)
CAPTIONS = st.lists(st.one_of(WORDS, WORDS, WORDS, ODD), max_size=25)


@FEW
@given(TUPLES, st.lists(TUPLES.filter(bool), min_size=1, max_size=4))
def test_of_graphs(candidate, references):
    score = BY_HAND.score([candidate], [references])[0]
    assert 0 <= score <= 1
    assert BY_HAND.score([candidate], [references[::-1]])[0] == score
    assert BY_HAND.score([candidate], [references * 2])[0] == score
    assert BY_HAND.score([references[0]], [references[:1]])[0] == 1
    assert BY_HAND.score([candidate], [[*references, candidate or "dog"]])[0] >= 0


@FEW
@given(CAPTIONS, st.lists(CAPTIONS.filter(bool), min_size=1, max_size=3))
def test_of_captions(candidate, references):
    spice = Spice()
    score = spice.score([candidate], [references])[0]
    assert 0 <= score <= 1
    assert spice.score([candidate], [references[::-1]])[0] == score
    has_tuples = spice.counts([references[0]], [references[:1]])["all"][0, 2] > 0
    assert spice.score([references[0]], [references[:1]])[0] == (1 if has_tuples else 0)
    assert spice.prepare_words([references]).score([candidate], [0])[0] == score


def test_many_references():
    rng = np.random.default_rng(0)
    words = ["man", "dog", "red", "runs", "with", "a", "ball"]
    references = [[words[n] for n in rng.integers(len(words), size=5)] for _ in range(1000)] * 100  # 100,000, some 1,000 of them distinct
    assert 0 < BY_HAND.score([["man", "dog"]], [references])[0] <= 1
    assert BY_HAND.score([["man", "dog"]], [[["man", "dog"]]])[0] == 1
