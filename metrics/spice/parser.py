"""Reads the words of a caption as a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.clause import Clause
from seqrl.metrics.spice.grammar import read
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.lexicon import look_up
from seqrl.metrics.spice.tagger import as_headline, tag


def parse(words: Sequence[str]) -> SceneGraph:
    """Read lower-case words as a scene graph."""
    known = [look_up(word) for word in words if word]
    tags = tag(known)
    notes = read(Clause(known, tags, headline=as_headline(known, tags)))
    return SceneGraph(tuple(notes.objects), tuple(notes.attributes), tuple(notes.relations))
