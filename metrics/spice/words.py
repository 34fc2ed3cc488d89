"""The small closed classes of English, and what captions do with words that may be nouns or verbs; `words.txt` says what each list is."""

from __future__ import annotations

from pathlib import Path

from seqrl.metrics.text_files import word_lists

_LISTS = word_lists(Path(__file__).with_name("words.txt"))
_SETS = {name: frozenset(words) for name, words in _LISTS.items()}
ADVERBIAL = _SETS["adverbial"]
COLOURS = _SETS["colours"]
COMPOUNDING = _SETS["compounding"]
COUNTED = _SETS["counted"]
FRAGMENT_ADJECTIVES = _SETS["fragment_adjectives"]
FRAGMENT_NOUNS = _SETS["fragment_nouns"]
GERUND_NOUNS = _SETS["gerund_nouns"]
NOUNS = _SETS["nouns"]
ONLY_ADJECTIVES = _SETS["only_adjectives"]
OPENING_VERBS = _SETS["opening_verbs"]
PARTICLES = _SETS["particles"]
PARTS = _SETS["parts"]
PEOPLE = _SETS["people"]
PLACES = _SETS["places"]
PLURAL_ONLY = _SETS["plural_only"]
SINGULAR_S = _SETS["singular_s"]
VERBS = _SETS["verbs"]
ADJECTIVES = COLOURS | _SETS["adjectives"]


def _by_word(kind: str) -> dict[str, str]:
    """Give the last part of a list's name, `kind NAME`, by each of its words."""
    return {word: name.removeprefix(kind) for name, words in _LISTS.items() if name.startswith(kind) for word in words}


CLOSED = _by_word("closed ")
KIND_OF_ATTRIBUTE = _by_word("kind ")


def _prepositions() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for phrase in _LISTS["prepositions"]:
        text, _, name = phrase.replace("_", " ").partition("=")
        first, *rest = text.split()
        found.setdefault(first, []).append((tuple(rest), name or text))
    return found


# Prepositions of several words: first word -> (rest, name of the relation).
PREPOSITIONS = _prepositions()
# The adverbs and adjectives among their first words -> what follows them.
PREPOSITION_HEADS = {first: PREPOSITIONS[first][0][0][0] for first in _LISTS["preposition_heads"]}
# The noun within such a preposition counts as an object, too.
INNER_NOUNS = {"in front of": "front", "on top of": "top"}
