"""Reads the words of a caption as a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.graph import SceneGraph


def parse(words: Sequence[str]) -> SceneGraph:
    """Read lower-case words without punctuation as a scene graph."""
    return SceneGraph(tuple(dict.fromkeys(words)))
