"""Reads the words of a caption as a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.clause import Clause
from seqrl.metrics.spice.grammar import read
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.headline import as_headline
from seqrl.metrics.spice.lexicon import look_up
from seqrl.metrics.spice.tagger import tag


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
