"""Captions of drawn scenes read back: which things they name, what they say of each, and how they are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqrl.tasks.captioning.scene_words import WORDS

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
    claims: list[Claim] = []
    shapes: list[str] = []
    template: list[str] = []
    # Adjectives and relations wait for their noun.
    adjectives: list[tuple[str, Any, tuple[int, ...]]] = []
    relation: tuple[Any, tuple[int, ...]] | None = None

    def claim(kind: str, value: Any, nouns: tuple[int, ...], places: tuple[int, ...]) -> None:
        """Keep what is said, once, and of something."""
        if -1 not in nouns and not any((each.kind, each.value, each.nouns) == (kind, value, nouns) for each in claims):
            claims.append(Claim(kind, value, nouns, places))

    place = 0
    while place < len(words):
        length, kind, value = _phrase_at(words, place)
        places, last = tuple(range(place, place + length)), len(shapes) - 1
        if kind in ("counts", "looks", "colours"):
            adjectives.append((kind, value, places))
        elif kind == "shapes":
            shapes.append(value)
            template.append("THING")
            for each, meaning, where in [*adjectives, (kind, value, places)]:
                claim(each, meaning, (last + 1,), where)
            if relation is not None:
                claim("relations", relation[0], (last, last + 1), relation[1])
            adjectives, relation = [], None
        elif kind == "looks_behind":
            claim("looks", value, (last,), places)
        else:
            adjectives = []
            template += [_SLOTS[kind]] if kind in _SLOTS else words[place : place + length]
            if kind == "relations":
                relation = (value, places)
            elif kind in _SLOTS:
                claim("places", value, () if kind == "background" else (last,), places)
        place += length
    return Statement(claims, shapes, " ".join(template))


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
    for _, text in WORDS["brief_ends"]:
        add(text, "other", None)
    for shape, nouns in WORDS["nouns"].items():
        for _, forms in nouns:
            for form in forms:
                add(form, "shapes", shape)
    for kind, table in (("colours", "colours"), ("looks", "sizes"), ("background", "places"), ("column", "columns")):
        for value, wordings in WORDS[table].items():
            for _, text in wordings:
                add(text, kind, value)
    for texture, options in WORDS["textures"].items():
        for _, (before, behind) in options:
            add(before, "looks", texture) if before else add(behind, "looks_behind", texture)
    meant: dict[str, set[int]] = {"a": {1}, "an": {1}}
    for count, wordings in WORDS["counts"].items():
        for _, text in wordings:
            meant.setdefault(text, set()).add(int(count))
    for text, counts in meant.items():
        add(text, "counts", frozenset(counts))
    for relation, views in WORDS["relations"].items():
        for _, text in views["from_first"]:
            add(text, "relations", "beside" if _says_either_side(text) else relation)
    return phrases


def _says_either_side(text: str) -> bool:
    return all(text in [wording for _, wording in WORDS["relations"][side]["from_first"]] for side in ("left", "right"))


_PHRASES = _make_phrases()
_LONGEST = max(map(len, _PHRASES))
