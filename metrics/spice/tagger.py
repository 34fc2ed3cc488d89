"""Decides what each word of a caption is, from what it may be and from its neighbours.

Tags are single letters: N noun, S plural noun, J adjective, V base form, Z third person, D past, P past or participle, Q participle, G -ing form,
R adverb, and the closed classes: T determiner, K this/that, Y possessive pronoun, U pronoun, W relative pronoun, X conjunction of clauses,
C conjunction, M modal, B be, O to, I preposition, # number, ' possessive, E there (existential), "," and ".".
"""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import COLOURS, FRAGMENT_NOUNS, PARTICLES

FINITE = frozenset("ZDBM")
_EXPECTS_NOUN = frozenset("TYJ#'K")
_NOMINAL = frozenset("NSJ#")
_OPENS_OBJECT = frozenset("TYUK#")
_END = Word(".", ".", ".", ".", verbal=False)


def tag(words: Sequence[Word]) -> list[str]:
    """Choose one tag for each word, from left to right.

    Args:
        words: what `lexicon.look_up` gives.

    Returns:
        one letter for each word.
    """
    tags: list[str] = []
    headed = False  # this clause has a finite verb
    last_noun = ""  # the last noun's tag in this clause
    before = "^"
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else _END
        options = word.tags
        chosen = options if len(options) == 1 else _choose(word, before, following, headed, last_noun, tags)
        if chosen in "I'TKXJW" and len(options) == 1:
            chosen = _closed(word, chosen, before, following, words, place)
        if chosen in "NSU":
            last_noun = chosen
        elif chosen in FINITE or (chosen == "P" and last_noun and not headed and following.tags in ("T", "Y")):
            headed = True
        elif chosen in "X.W":
            headed = False
            last_noun = ""
        elif chosen == "," or (chosen == "C" and headed and word.text != "or"):
            last_noun = ""
        tags.append(chosen)
        if chosen != "R" or before == "^":
            before = chosen
    return tags


def _closed(word: Word, tag: str, before: str, following: Word, words: Sequence[Word], place: int) -> str:
    """Settle what a word of a closed class is."""
    if tag == "K":
        if word.text == "that" and before in "NS" and (following.tags[0] in "BMZDPU" or following.verbal or following.tags in "TY"):
            return "W"
        return "T" if set(following.tags) & _NOMINAL else "U"
    if tag == "'" and before not in "NS":
        return "B"
    if tag == "T" and word.text in ("another", "each", "both", "all", "some", "any", "either", "neither", "no"):
        return "T" if set(following.tags) & (_NOMINAL | set("TYGPK")) else "U"
    return tag


def _choose(word: Word, before: str, following: Word, headed: bool, last_noun: str, tags: list[str]) -> str:
    options = word.tags
    nominal_next = bool(set(following.tags) & _NOMINAL) and following.text not in PARTICLES
    if before in _EXPECTS_NOUN:
        return _in_noun_group(word, before, following, headed, last_noun, nominal_next)
    if before == "B":
        return _first(options, "GPQJNSRVDZ")
    if before == "O":
        return (
            _first(options, "VNSJGRPZ")
            if "V" in options and (len(tags) < 2 or tags[-2] not in "RJ" or word.verbal)
            else _first(options, "JNSGV")
        )
    if before == "M":
        return _first(options, "VPRZNSJG")
    if before in "UW":
        return _first(options, "ZDPVRGQJNS")
    if before in "NS'":
        return _after_noun(word, before, following, headed, last_noun, nominal_next)
    if before in "VZDPQG":
        return _after_verb(word, following, nominal_next)
    if before == "I":
        if "G" in options and "N" not in options:
            return "G"
        return _noun_or_modifier(options, nominal_next)
    if before in "C,":
        return _after_conjunction(word, following, headed, last_noun, tags, nominal_next)
    return _noun_or_modifier(options, nominal_next)


def _first(options: str, order: str) -> str:
    for tag in order:
        if tag in options:
            return tag
    return options[0]


def _noun_or_modifier(options: str, nominal_next: bool) -> str:
    if nominal_next:
        return _first(options, "JSNGPQRVZD") if "S" not in options else "S"
    return _first(options, "SNJGPQRVZD")


def _in_noun_group(word: Word, before: str, following: Word, headed: bool, last_noun: str, nominal_next: bool) -> str:
    options = word.tags
    if nominal_next:
        if "J" in options and "S" not in options:
            return "J"
        if "G" in options or "P" in options or "Q" in options:
            return _first(options, "NGPQ") if not word.verbal else _first(options, "GPQN")
        return _first(options, "SNRVZD")
    if following.tags in ("C", ",") and "J" in options and (word.text in COLOURS or "N" not in options):
        return "J"
    if before == "J" and last_noun and not headed and "Z" in options and word.verbal:
        return "Z"
    return _first(options, "SNJGPQRVZD")


def _after_noun(word: Word, before: str, following: Word, headed: bool, last_noun: str, nominal_next: bool) -> str:
    options = word.tags
    finite = _finite_option(options, last_noun)
    if finite and not headed:
        opens = following.tags[0] in _OPENS_OBJECT or following.tags in ("I", "O", "R", ".", "X", ",") or following.text in PARTICLES
        if word.verbal and (opens or finite != "V" or not set(options) & set("NS")):
            return finite
        if following.tags in ("T", "Y", "U") or not set(options) & set("NSJRP"):
            return finite
    if "G" in options:
        return "G" if word.verbal or "N" not in options else "N"
    if "J" in options and not nominal_next and "N" not in options and "S" not in options:
        return _first(options, "PJ") if "P" in options else "J"
    if word.text in COLOURS or ("J" in options and nominal_next and "N" not in options):
        return "J"
    return _first(options, "SNPQDJRVZ") if "P" not in options or "S" in options else ("P" if word.verbal else _first(options, "NPJ"))


def _finite_option(options: str, last_noun: str) -> str:
    if "Z" in options:
        return "Z"
    if "V" in options and last_noun == "S":
        return "V"
    if "D" in options:
        return "D"
    return ""


def _after_verb(word: Word, following: Word, nominal_next: bool) -> str:
    options = word.tags
    if nominal_next:
        return _first(options, "JSGPQNRVZD") if "S" not in options else "S"
    if "R" in options and "N" not in options and "S" not in options:
        return "R"
    return _first(options, "SNJGPQRVZD")


def _after_conjunction(word: Word, following: Word, headed: bool, last_noun: str, tags: list[str], nominal_next: bool) -> str:
    """Take the word for a verb where it could be one like the last verb of the caption."""
    options = word.tags
    for earlier in reversed(tags):
        if earlier in "VZDPQG":
            same = earlier if earlier in options else ("Z" if earlier == "B" and "Z" in options else "")
            if same and (word.verbal or not set(options) & set("NSJ")):
                return same
            break
    if "G" in options and word.verbal and following.tags[0] in "TYIOR.,C":
        return "G"
    if "Z" in options and word.verbal and following.tags[0] in "TYIOR":
        return "Z"
    return _noun_or_modifier(options, nominal_next)


__all__ = ["FINITE", "FRAGMENT_NOUNS", "tag"]
