"""Scene graphs written by hand: "man:red man:ride:horse" is a red man who rides a horse; underscores are blanks."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.matching import Synonyms

# 1: man, guy, fellow; 2: man, male; 3: big, large; 4: in front of, before
SYNONYMS = Synonyms(
    {"man": (1, 2), "guy": (1,), "fellow": (1,), "male": (2,), "big": (3,), "large": (3,), "in_front_of": (4,), "before": (4,)}
)


def as_graph(words: Sequence[str]) -> SceneGraph:
    """Read words as tuples; this stands for the parser."""
    tuples = [tuple(name.replace("_", " ") for name in word.split(":")[:3] if name) for word in words]
    objects = [name for each in tuples for name in each[:1] + each[2:]]
    pairs, triples = ([each for each in tuples if len(each) == length] for length in (2, 3))
    return SceneGraph(*(tuple(dict.fromkeys(kind)) for kind in (objects, pairs, triples)))  # type: ignore[arg-type]


def graph(text: str) -> SceneGraph:
    return as_graph(text.split())
