from __future__ import annotations

import math

import numpy as np
import pytest
from graphs import SYNONYMS, as_graph
from pycocoevalcap.cider.cider import Cider as OfficialCider

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.cider import CiderD
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.signature import parse, signature_of
from seqrl.metrics.spice import CATEGORIES, PARSER_VERSION, Spice
from seqrl.metrics.spider import Spider

SPICE = Spice(parser=as_graph, synonyms=SYNONYMS)
REFERENCES = ["man:red man:ride:horse horse:big", "guy:two dog"]
# man, horse, dog, man:red, man:two, horse:big, man:ride:horse
CANDIDATES = ["fellow:large man:ride:horse man:red dog:brown", "zebra", ""]


def test_by_hand():
    # fellow or man, horse, dog, man:large, man:red, dog:brown, man:ride:horse; large and brown are not said of them
    expected = [2 * 5 / (7 + 7), 0.0, 0.0]
    np.testing.assert_allclose(SPICE.score(CANDIDATES, [REFERENCES] * 3), expected)
    assert SPICE.corpus(CANDIDATES, [REFERENCES] * 3) == pytest.approx(np.mean(expected))


def test_parts_by_hand():
    counts = SPICE.counts(CANDIDATES[:1], [REFERENCES])
    assert {name: rows[0].tolist() for name, rows in counts.items()} == {
        "all": [5, 7, 7],
        "object": [3, 3, 3],
        "relation": [1, 1, 1],
        "attribute": [1, 3, 3],
        "colour": [1, 2, 1],
        "count": [0, 0, 1],
        "size": [0, 1, 1],
    }
    parts = SPICE.parts(CANDIDATES, [REFERENCES] * 3)
    assert list(parts) == list(CATEGORIES)
    np.testing.assert_allclose(parts["colour"], [2 / 3, 0, 0])
    np.testing.assert_array_equal(parts["all"], SPICE.score(CANDIDATES, [REFERENCES] * 3))
    # nothing is said of a colour on either side: no score, as in the official output; the score itself is always defined
    nothing = SPICE.parts(["", "man"], [["man"], ["man"]])
    assert np.isnan(nothing["colour"]).all() and np.isnan(nothing["relation"]).all() and nothing["all"].tolist() == [0.0, 1.0]


def test_two_names_that_match_one_of_the_references_count_once():
    # guy and male both match man, and not each other: 2 matched tuples would make a recall of 2
    assert SPICE.counts(["guy male"], [["man"]])["all"].tolist() == [[1, 2, 1]]
    assert SPICE.score(["guy male"], [["man"]])[0] == pytest.approx(2 / 3)


def test_prepared_references_score_as_the_metric_does_with_and_without_a_cache():
    references = [REFERENCES, ["zebra:before:house"], ["dog:tall"]]
    hypotheses = [*CANDIDATES, "zebra:in_front_of:house", "zebra"] * 2
    items = [0, 1, 2, 1, 1] * 2
    expected = SPICE.score(hypotheses, [references[item] for item in items])
    for cached in (0, 2, 100):
        prepared = Spice(cached=cached, parser=as_graph, synonyms=SYNONYMS).prepare_words(
            [[r.split() for r in rows] for rows in references]
        )
        for _ in range(2):
            np.testing.assert_array_equal(prepared.score([h.split() for h in hypotheses], items), expected)


def test_capitals_do_not_matter():
    assert SPICE.score(["Man:RED", ["Man:RED"]], [["man:red"], [["MAN:red"]]]).tolist() == [1.0, 1.0]


def test_references_are_read_once_and_new_captions_once():
    read = []

    def parser(words):
        read.append(" ".join(words))
        return as_graph(words)

    prepared = Spice(parser=parser, synonyms=SYNONYMS).prepare_words([[["man"], ["dog"]], [["horse"]]])
    assert read == []
    for _ in range(3):
        prepared.score([["man"], ["man"]], [0, 0])
    assert sorted(read) == ["dog", "man", "man"]
    Spice(parser=parser, synonyms=SYNONYMS).score(["cat"] * 5, [["zebra", "house"]] * 5)
    assert sorted(read[3:]) == ["cat", "house", "zebra"]


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["man"], [], "got 1 hypotheses and 0 lists"),
        (["man"], [[]], "item 0 has no references"),
        (["man", "man"], [["man"], ["man", " "]], "reference 1 of item 1 is empty"),
        (["man"], ["man"], "one string"),
        ("m", [["man"]], "one string"),
    ],
)
def test_says_what_is_wrong(hypotheses, references, message):
    for metric in (SPICE, Spider(spice=SPICE, document_frequency=DocumentFrequency.from_references([["a"], ["b"]]))):
        with pytest.raises(ValueError, match=message):
            metric.score(hypotheses, references)


def test_prepared_references_refuse_items_that_are_not_there():
    prepared = SPICE.prepare_words([[["man"]]])
    for items, message in (([1], "items"), ([-1], "items"), ([0, 0], "1 hypotheses and 2 items")):
        with pytest.raises(ValueError, match=message):
            prepared.score([["man"]], items)


def test_spider_is_the_mean_of_cider_d_and_spice():
    references = [["man:red dog", "man dog"], ["zebra house", "zebra"], ["dog horse man"]]
    hypotheses = ["man:red dog", "zebra never seen", ""]
    _, official = OfficialCider().compute_score(dict(enumerate(references)), {n: [h] for n, h in enumerate(hypotheses)})
    expected = 0.5 * official + 0.5 * SPICE.score(hypotheses, references)
    spider = Spider(spice=SPICE)
    np.testing.assert_allclose(spider.score(hypotheses, references), expected, atol=1e-12)
    words = [[r.split() for r in rows] for rows in references]
    np.testing.assert_allclose(spider.prepare_words(words).score([h.split() for h in hypotheses], [0, 1, 2]), expected, atol=1e-12)
    assert spider.corpus(hypotheses, references) == pytest.approx(expected.mean())


def test_spider_weighs_words_by_a_corpus():
    corpus = [["man dog", "a man"], ["a zebra"], ["a dog"]]
    frequency = DocumentFrequency.from_references(corpus)
    references = [["a man:red dog"]]
    expected = 0.5 * CiderD(document_frequency=frequency).score(["a dog new new words"], references)[0]
    expected += 0.5 * SPICE.score(["a dog new new words"], references)[0]
    prepared = Spider(frequency, SPICE).prepare_words([[["a", "man:red", "dog"]]])
    assert prepared.score([["a", "dog", "new", "new", "words"]], [0])[0] == pytest.approx(expected, abs=1e-12)
    assert math.isfinite(expected) and expected > 0


def test_the_signature_names_the_parser():
    for name, label in (("spice", "SPICE"), ("spider", "SPIDEr")):
        (found,) = parse(str(signature_of(metric_by_name(name), version="1")))
        assert found.name == label and found.fields["parser"] == PARSER_VERSION
    assert signature_of(SPICE, version="1").fields["parser"] == "as_graph"
