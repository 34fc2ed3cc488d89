"""Reads the words of a caption as a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.grammar import Reader
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.lexicon import look_up
from seqrl.metrics.spice.tagger import as_headline, tag


def parse(words: Sequence[str]) -> SceneGraph:
    """Read lower-case words as a scene graph."""
    known = [look_up(word) for word in words if word]
    tags = tag(known)
    notes = Reader(known, tags, headline=as_headline(known, tags)).read()
    return SceneGraph(tuple(notes.objects), tuple(notes.attributes), tuple(notes.relations))
