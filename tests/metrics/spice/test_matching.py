from __future__ import annotations

import pytest
from graphs import SYNONYMS, graph

from seqrl.metrics.spice.matching import ReferenceTuples, english_synonyms


def matched(candidate: str, *references: str) -> list[str]:
    mine, theirs = SYNONYMS.merge([graph(candidate)]), SYNONYMS.merge([graph(each) for each in references])
    hits = ReferenceTuples(theirs).matched(mine, SYNONYMS)
    return sorted(":".join(each) for each, hit in zip(mine, hits, strict=True) if hit)


def test_names_match_where_they_share_a_synset_and_that_is_not_passed_on():
    assert SYNONYMS.related("guy") == {"guy", "man", "fellow"}
    assert SYNONYMS.related("man") == {"man", "guy", "fellow", "male"}
    assert SYNONYMS.related("male") == {"male", "man"}
    assert SYNONYMS.related("in front of") == {"in front of", "before"}
    assert SYNONYMS.related("zebra") == {"zebra"}


def test_every_name_of_a_tuple_must_match():
    assert matched("guy:before:house", "man:in_front_of:house") == ["guy", "guy:before:house", "house"]
    assert matched("man:red man:tall", "man:red ball:tall") == ["man", "man:red"]
    assert matched("house:in_front_of:man", "man:in_front_of:house") == ["house", "man"]
    assert matched("red", "man:red") == []


def test_synonymous_objects_of_references_are_one_object_with_all_that_is_said_of_it():
    union = SYNONYMS.merge([graph("man:red man:ride:horse"), graph("guy:big guy:ride:horse"), graph("man:large")])
    assert set(union) == {("man",), ("horse",), ("man", "red"), ("man", "big"), ("man", "ride", "horse")}
    assert matched("fellow:large", "man:red", "guy:big") == ["fellow", "fellow:large"]


def test_the_candidate_is_merged_too():
    # two names of one thing count once in precision; of names used equally often the first in the alphabet stays
    union = SYNONYMS.merge([graph("man:in:house guy:in:house")])
    assert set(union) == {("guy",), ("house",), ("guy", "in", "house")}


def test_the_order_of_graphs_does_not_matter():
    graphs = [graph("man:red"), graph("guy:big guy"), graph("male:large"), graph("man guy:red")]
    expected = SYNONYMS.merge(graphs)
    for start in range(4):
        assert set(SYNONYMS.merge(graphs[start:] + graphs[:start])) == set(expected)


@pytest.mark.parametrize(
    ("drawn", "official"),
    [
        # "Three dogs running on a racing track .": to dog and to track is to follow
        ("dog dog:three track track:racing dog:run_on:track", 4),
        # "A shaggy dog runs down a dirt trail in a lush forest .": to trail, too
        ("dog dog:shaggy trail trail:dirt forest forest:lush dog:run_down:trail trail:in:forest", 7),
        # "Two men holding their fishing poles .": what they hold they have
        ("man man:two pole pole:fishing man:hold:pole man:have:pole", 5),
        # "A girl in a winter coat with a birthday cake .": to coat is to cake
        ("girl coat coat:winter cake cake:birthday girl:in:coat coat:with:cake", 6),
    ],
)
def test_the_official_program_counts_synonyms_once_in_a_caption(drawn, official):
    assert len(english_synonyms().merge([graph(drawn)])) == official
