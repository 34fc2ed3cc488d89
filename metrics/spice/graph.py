"""The scene graph of a caption: its objects, what is said about each of them, and what holds between two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SceneGraph:
    """Holds what a caption says as sets of lemmas, in the order in which the words came.

    Args:
        objects: names of the things, each once: two things of one name are one object, as in the published metric.
        attributes: pairs (object, attribute); a count is an attribute, too ("two dogs": (dog, two)).
        relations: triples (subject, relation, object), e.g. (man, sit on, bench).

    Source: Anderson et al. 2016, SPICE: Semantic propositional image caption evaluation, section 3.1.
    """

    objects: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    relations: tuple[tuple[str, str, str], ...] = ()

    def tuples(self) -> tuple[tuple[str, ...], ...]:
        """List objects as 1-tuples, then attributes as pairs, then relations as triples, each once."""
        return (*((name,) for name in self.objects), *self.attributes, *self.relations)
