"""Reads noun groups ("the man 's two big red dogs") out of tagged words, and finds whom pronouns mean."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.graph import Notes
from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import COMPOUNDING, COUNTED, PEOPLE

NOUNS = frozenset("NSH")
FARTHEST = 12  # words that we look ahead
_WITHOUT_ANTECEDENT = frozenset("my your our i you we me us whose other himself herself itself themselves".split())
_PERSONAL = frozenset("his her he she him".split())
_COLOURED = frozenset(("colored", "coloured"))


def noun_ahead(tags: Sequence[str], place: int) -> bool:
    """Whether adjectives and the like from here on lead to a noun."""
    end = min(len(tags), place + FARTHEST)
    while place < end and tags[place] in "JGPQR#C,":
        place += 1
        if place < end and tags[place - 1] in "C," and tags[place] not in "JGPQRNS":
            return False
    return place < end and tags[place] in NOUNS


def adjective_ahead(tags: Sequence[str], place: int) -> bool:
    """Whether another adjective of the same noun comes after the comma or the "and" before this place."""
    if place < len(tags) and tags[place] == "C":
        place += 1
    return place < len(tags) and (tags[place] in "JR" or (tags[place] in "PQ" and tags[place - 1] in "C,")) and noun_ahead(tags, place)


class NounGroups:
    """Reads noun groups; the place in the caption is the caller's.

    Args:
        words: of the caption.
        tags: one letter a word, see `tagger`.
        notes: where objects, their attributes and possessions go.
    """

    def __init__(self, words: Sequence[Word], tags: Sequence[str], notes: Notes) -> None:
        self.words, self.tags, self.notes = words, tags, notes
        self.heads: list[str] = []  # of the groups so far
        self.bare = False  # the last noun group had no determiner

    def read(self, start: int, main: Sequence[str], *, governed: bool, counting: bool = False) -> tuple[int, str]:
        """Read the noun group that starts here.

        Args:
            start: place of its first word.
            main: subjects of the clause, whom its pronouns may mean.
            governed: whether a preposition stands before it.
            counting: whether it is what "a pair of" counts.

        Returns:
            the place after it, and the object's name ("" when it has none).
        """
        words, tags, end = self.words, self.tags, len(self.tags)
        place, owner, head, determiner = start, "", "", ""
        modifiers: list[str] = []
        while place < end:
            tag, word = tags[place], words[place]
            following = tags[place + 1] if place + 1 < end else "."
            if tag in "TK":
                if modifiers or (determiner and word.text in ("a", "an", "the")):
                    break
                determiner = word.text
            elif tag == "Y":
                if modifiers or owner:
                    break
                owner = self.antecedent(word.text, main)
                determiner = word.text
            elif tag == "A":
                if modifiers or determiner:
                    break
                modifiers.append(word.text)
            elif tag == "H":
                return (place, "") if modifiers or determiner else (place + 1, self._thing(word.noun, [], ""))
            elif tag in "NS":
                if following == "'":
                    owner, modifiers = self._thing(word.noun, modifiers, owner), []
                    place += 1
                elif following in "NS" or (following == "J" and tag == "N" and place + 2 < end and tags[place + 2] in "NS"):
                    modifiers.append(word.noun)
                else:
                    head = self._thing(word.noun, modifiers, owner)
                    place += 1
                    break
            elif tag == "J" and place + 1 < end and words[place + 1].text in COMPOUNDING:
                pass
            elif tag == "#" and word.text == "one" and following in "NJ":
                determiner = "one"
            elif tag in "#J":
                modifiers.append(word.verb if word.text in _COLOURED else word.text)
            elif tag in "GPQ" and noun_ahead(tags, place + 1):
                modifiers.append(self._participle(place))
            elif tag == "'" and owner:
                pass
            elif not (
                (tag == "R" and following in "JPGQ#" and noun_ahead(tags, place + 1))
                or (tag in "C," and modifiers and adjective_ahead(tags, place + 1))
            ):
                break
            place += 1
        if not head and modifiers and tags[place - 1] == "J" and (governed or determiner) and determiner != "all":
            head = self._thing(words[place - 1].noun, modifiers[:-1], owner)
        elif (
            head in COUNTED and not counting and (determiner in ("a", "an") or modifiers) and place + 1 < end and words[place].text == "of"
        ):
            return self._counted(place, head, modifiers[0] if modifiers else "a", main)
        if head:
            self.bare = not determiner and not owner
            self.heads.append(head)
        return place, head

    def antecedent(self, pronoun: str, main: Sequence[str]) -> str:
        """Find whom a pronoun means: the clause's subject before other groups, people for he and she."""
        if pronoun in _WITHOUT_ANTECEDENT:
            return ""
        candidates = [*main[:1], *self.heads[:FARTHEST]]
        if pronoun in _PERSONAL:
            candidates = [name for name in candidates if name in PEOPLE] + candidates
        return candidates[0] if candidates else ""

    def _participle(self, place: int) -> str:
        """Name a participle before a noun: by its verb where it says what somebody does ("a smiling boy"), else as it stands."""
        word = self.words[place]
        acts = self.tags[place] == "G" and word.verbal and place and self.tags[place - 1] in "T#J"
        return word.verb if acts or word.text in _COLOURED else word.text

    def _counted(self, place: int, name: str, count: str, main: Sequence[str]) -> tuple[int, str]:
        """Read "a pair of gloves" as gloves that are counted."""
        after, head = self.read(place + 1, main, governed=True, counting=True)
        if not head:
            return place, name
        self.notes.forget(name)
        self.notes.attribute((head,), count)
        return after, head

    def _thing(self, name: str, modifiers: list[str], owner: str) -> str:
        notes = self.notes
        notes.objects[name] = None
        for modifier in modifiers:
            notes.attributes[name, modifier] = None
        if owner:
            notes.relations[owner, "have", name] = None
        return name
