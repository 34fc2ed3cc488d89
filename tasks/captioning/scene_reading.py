"""Captions of drawn scenes read back: which things they name, what they say of each, and how they are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqrl.tasks.captioning.scene_words import (
    BRIEF_ENDS,
    COLOUR_WORDS,
    COLUMN_WORDS,
    COUNT_WORDS,
    NOUNS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
)

KINDS = ("shapes", "colours", "counts", "looks", "relations", "places")


@dataclass(frozen=True)
class Claim:
    """One thing that a caption says.

    Attributes:
        kind: see KINDS.
        value: a shape, a colour, the set of counts that the words allow, a size or texture, a relation, a background or a column.
        nouns: indices of the nouns that it is said of: none for a background, two for a relation ("beside" is either side).
        words: positions of the caption's words that say it.
    """

    kind: str
    value: Any
    nouns: tuple[int, ...]
    words: tuple[int, ...]


@dataclass(frozen=True)
class Statement:
    """What a caption says.

    Attributes:
        claims: all of it.
        shapes: what each of its nouns means.
        template: the caption with THING, PLACE, COLUMN and RELATION in the places of what they stand for.
    """

    claims: list[Claim]
    shapes: list[str]
    template: str


def read_caption(words: Sequence[str]) -> Statement:
    """Read a caption, by the longest phrase known at each word; words that say nothing of the scene are kept for the template.

    A relation joins the nouns before and after it. A column or a texture behind a noun belongs to that noun.

    Args:
        words: as `ptb_tokenize` gives them, without punctuation.
    """
    reading = _Reading()
    place = 0
    while place < len(words):
        length, kind, value = _phrase_at(words, place)
        reading.take(kind, value, words[place : place + length], tuple(range(place, place + length)))
        place += length
    return Statement(reading.claims, reading.shapes, " ".join(reading.template))


class _Reading:
    """A caption up to some word; adjectives and relations wait for their noun."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.shapes: list[str] = []
        self.template: list[str] = []
        self._adjectives: list[tuple[str, Any, tuple[int, ...]]] = []
        self._relation: tuple[Any, tuple[int, ...]] | None = None

    def take(self, kind: str, value: Any, phrase: Sequence[str], places: tuple[int, ...]) -> None:
        """Read one phrase."""
        last = len(self.shapes) - 1
        if kind in ("counts", "looks", "colours"):
            self._adjectives.append((kind, value, places))
        elif kind == "shapes":
            self._noun(value, places)
        elif kind == "looks_behind":
            self._claim("looks", value, (last,), places)
        else:
            self._adjectives = []
            self.template += [_SLOTS[kind]] if kind in _SLOTS else list(phrase)
            if kind == "background":
                self._claim("places", value, (), places)
            elif kind == "column":
                self._claim("places", value, (last,), places)
            elif kind == "relations":
                self._relation = (value, places)

    def _noun(self, shape: str, places: tuple[int, ...]) -> None:
        self.shapes.append(shape)
        noun = len(self.shapes) - 1
        for kind, value, where in [*self._adjectives, ("shapes", shape, places)]:
            self._claim(kind, value, (noun,), where)
        if self._relation is not None:
            self._claim("relations", self._relation[0], (noun - 1, noun), self._relation[1])
        self.template.append("THING")
        self._adjectives, self._relation = [], None

    def _claim(self, kind: str, value: Any, nouns: tuple[int, ...], places: tuple[int, ...]) -> None:
        """Keep what is said, once, and of something."""
        if -1 not in nouns and not any((claim.kind, claim.value, claim.nouns) == (kind, value, nouns) for claim in self.claims):
            self.claims.append(Claim(kind, value, nouns, places))


_SLOTS = {"background": "PLACE", "column": "COLUMN", "relations": "RELATION"}


def _phrase_at(words: Sequence[str], place: int) -> tuple[int, str, Any]:
    """Give the number of words, the kind and the meaning of the longest phrase that begins there."""
    for length in range(min(_LONGEST, len(words) - place), 0, -1):
        found = _PHRASES.get(tuple(words[place : place + length]))
        if found is not None:
            return length, *found
    return 1, "other", None


def _make_phrases() -> dict[tuple[str, ...], tuple[str, Any]]:
    phrases: dict[tuple[str, ...], tuple[str, Any]] = {}

    def add(text: str, kind: str, value: Any) -> None:
        phrases[tuple(text.split())] = (kind, value)

    # "with a few more" holds a number that is none.
    for _, text in BRIEF_ENDS:
        add(text, "other", None)
    for shape, nouns in NOUNS.items():
        for _, *forms in nouns:
            for form in forms:
                add(form, "shapes", shape)
    for kind, table in (("colours", COLOUR_WORDS), ("looks", SIZE_WORDS), ("background", PLACE_WORDS), ("column", COLUMN_WORDS)):
        for value, wordings in table.items():
            for _, text in wordings:
                add(text, kind, value)
    for texture, options in TEXTURE_WORDS.items():
        for _, before, behind in options:
            add(before, "looks", texture) if before else add(behind, "looks_behind", texture)
    meant: dict[str, set[int]] = {"a": {1}, "an": {1}}
    for count, wordings in COUNT_WORDS.items():
        for _, text in wordings:
            meant.setdefault(text, set()).add(count)
    for text, counts in meant.items():
        add(text, "counts", frozenset(counts))
    for relation, (_, from_first) in RELATION_WORDS.items():
        for _, text in from_first:
            add(text, "relations", "beside" if _says_either_side(text) else relation)
    return phrases


def _says_either_side(text: str) -> bool:
    return all(text in [wording for _, wording in RELATION_WORDS[side][1]] for side in ("left", "right"))


_PHRASES = _make_phrases()
_LONGEST = max(map(len, _PHRASES))
