"""The scene graph of a caption: its objects, what is said about each of them, and what holds between two; and what its reader notes."""

from __future__ import annotations

from collections.abc import Iterable
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


class Notes:
    """Collects objects, attributes and relations, each once and in the order of their coming."""

    def __init__(self) -> None:
        self.objects: dict[str, None] = {}
        self.attributes: dict[tuple[str, str], None] = {}
        self.relations: dict[tuple[str, str, str], None] = {}

    def attribute(self, things: Iterable[str], value: str) -> None:
        """Note something about each of the things."""
        for thing in things:
            self.attributes[thing, value] = None

    def relation(self, subjects: Iterable[str], name: str, objects: Iterable[str]) -> None:
        """Note a relation between each subject and each object."""
        objects = tuple(objects)
        for subject in subjects:
            for thing in objects:
                self.relations[subject, name, thing] = None

    def forget(self, name: str) -> None:
        """Take back an object of which only attributes were noted."""
        self.objects.pop(name, None)
        for pair in [pair for pair in self.attributes if pair[0] == name]:
            del self.attributes[pair]


@dataclass(slots=True)
class Verb:
    """A verb that waits for its objects: who does it, its name with particles, and what was found for it."""

    name: str
    subjects: list[str]
    passive: bool
    clause: bool
    takes_object: bool
    satisfied: bool = False
