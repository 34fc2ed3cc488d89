"""Captions of drawn scenes read back: which things they name, what they say of each, and how they are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass
class Mention:
    """One noun with what is said of it; None where nothing is.

    Attributes:
        shape: what the noun means.
        colour: its colour.
        counts: the numbers that the words allow; {1} after "a".
        size: "small" or "large".
        texture: its texture.
        columns: the thirds of the picture that it is said to be in.
    """

    shape: str
    colour: str | None = None
    counts: frozenset[int] | None = None
    size: str | None = None
    texture: str | None = None
    columns: set[str] = field(default_factory=set)


@dataclass
class Statement:
    """What a caption says.

    Attributes:
        mentions: in the caption's order.
        relations: (index of a mention, relation, index of a later mention); "beside" is either side.
        backgrounds: those that its words name.
        template: the caption with THING, PLACE, COLUMN and RELATION in the places of what they stand for.
    """

    mentions: list[Mention]
    relations: set[tuple[int, str, int]]
    backgrounds: set[str]
    template: str


def read_caption(words: Sequence[str]) -> Statement:
    """Read a caption, by the longest phrase known at each word; words that say nothing of the scene are kept for the template.

    A relation joins the nouns before and after it. A column or a texture behind a noun belongs to that noun.

    Args:
        words: as `ptb_tokenize` gives them, without punctuation.
    """
    mentions: list[Mention] = []
    relations: set[tuple[int, str, int]] = set()
    backgrounds: set[str] = set()
    template: list[str] = []
    said: dict[str, Any] = {}
    waiting: str | None = None
    place = 0
    while place < len(words):
        length, kind, value = _phrase_at(words, place)
        phrase, place = words[place : place + length], place + length
        if kind in ("counts", "size", "colour", "texture"):
            said[kind] = value
        elif kind == "noun":
            mentions.append(Mention(value, **said))
            if waiting is not None and len(mentions) > 1:
                relations.add((len(mentions) - 2, waiting, len(mentions) - 1))
            template.append("THING")
            said, waiting = {}, None
        elif kind == "texture_behind":
            if mentions:
                mentions[-1].texture = value
        else:
            said = {}
            if kind == "background":
                backgrounds.add(value)
            elif kind == "column" and mentions:
                mentions[-1].columns.add(value)
            elif kind == "relation":
                waiting = value
            template += list(phrase) if kind == "other" else [_SLOTS[kind]]
    return Statement(mentions, relations, backgrounds, " ".join(template))


_SLOTS = {"background": "PLACE", "column": "COLUMN", "relation": "RELATION"}


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
                add(form, "noun", shape)
    for kind, table in (("colour", COLOUR_WORDS), ("size", SIZE_WORDS), ("background", PLACE_WORDS), ("column", COLUMN_WORDS)):
        for value, wordings in table.items():
            for _, text in wordings:
                add(text, kind, value)
    for texture, options in TEXTURE_WORDS.items():
        for _, before, behind in options:
            add(before, "texture", texture) if before else add(behind, "texture_behind", texture)
    meant: dict[str, set[int]] = {"a": {1}, "an": {1}}
    for count, wordings in COUNT_WORDS.items():
        for _, text in wordings:
            meant.setdefault(text, set()).add(count)
    for text, counts in meant.items():
        add(text, "counts", frozenset(counts))
    for relation, (_, from_first) in RELATION_WORDS.items():
        for _, text in from_first:
            add(text, "relation", "beside" if _says_either_side(text) else relation)
    return phrases


def _says_either_side(text: str) -> bool:
    return all(text in [wording for _, wording in RELATION_WORDS[side][1]] for side in ("left", "right"))


_PHRASES = _make_phrases()
_LONGEST = max(map(len, _PHRASES))
