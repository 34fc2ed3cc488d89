"""What a reader of captions writes down, and the verb that it has in hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
