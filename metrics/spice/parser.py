"""Reads the words of a caption as a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.clause import Clause
from seqrl.metrics.spice.grammar import read
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.lexicon import Word, look_up
from seqrl.metrics.spice.tagger import tag
from seqrl.metrics.spice.words import FRAGMENT_ADJECTIVES, FRAGMENT_NOUNS, OPENING_VERBS


def parse(words: Sequence[str]) -> SceneGraph:
    """Read the words of a caption as a scene graph: tag them, then walk over them once from left to right.

    Objects are nouns by their lemmas; attributes are adjectives, numbers, compounds, participles, predicates and verbs without objects;
    relations are verbs with objects, verbs and nouns with prepositions, and possessions ("have").

    Args:
        words: lower-case, as a Penn Treebank tokeniser splits them. Full stops and commas may be left out, but they help: the published
            parser reads "a man holding a phone" without full stop as a headline that relates nothing, and so does this one.

    Returns:
        the graph; any list of strings has one, perhaps an empty one, in time linear in the number of words.

    Source: Schuster et al. 2015, Generating semantically precise scene graphs from textual descriptions for improved image retrieval,
    section 3; Anderson et al. 2016, SPICE: Semantic propositional image caption evaluation, section 3.1.

    Differs from: both, which take the dependency tree of a statistical parser; rules for the language of captions stand in for it, so that
        nothing must be downloaded. docs/metrics.md says how far the graphs agree.
    """
    known = [look_up(word) for word in words if word]
    tags = tag(known)
    notes = read(Clause(known, tags, headline=as_headline(known, tags)))
    return SceneGraph(tuple(notes.objects), tuple(notes.attributes), tuple(notes.relations))


def as_headline(words: Sequence[Word], tags: list[str]) -> bool:
    """Whether a caption is a headline: one noun group and a participle, no finite verb and no full stop ("a man riding a horse").

    The published parser, which learned from newspapers, reads such a caption as a clause whose verb has no subject, or takes "walking"
    and its like for the head of the noun group; both are copied here, in place.
    """
    if "." in tags or "B" in tags or "Z" in tags or "M" in tags:
        return False
    if words and words[0].text in OPENING_VERBS and tags[1:2] and tags[1] in ("IRG" if words[0].text == "building" else "IRGP"):
        tags[0] = "V"
        return False
    place, heads, determined = 0, 0, False
    while place < len(tags) and tags[place] in "TYJNS#C,RP":
        heads += tags[place] in "NS"
        determined = determined or tags[place] in "T#C"
        place += 1
    if place == 0 or place >= len(tags) or tags[place] != "G" or tags[place - 1] not in "NS":
        return False
    plural = tags[place - 1] == "S"
    following = tags[place + 1] if place + 1 < len(tags) else "."
    if words[place].text in FRAGMENT_NOUNS and following in "IO":
        tags[place] = "H" if determined or plural else "N"
        return False
    if following in "NS" and words[place].text in FRAGMENT_ADJECTIVES and (plural or all(tag in "NS" for tag in tags[place + 1 :])):
        tags[place] = "A" if determined or plural else "J"
        return False
    phrases = sum(tag in "IO" and words[k].text not in ("of", "to") for k, tag in enumerate(tags) if k > place) + (following in "TYUNSJ#")
    return (not plural or following in "TYUNSJ#" or place > 1) and not (tags[0] == "T" and phrases > 1)
