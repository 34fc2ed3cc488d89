"""Decides what each word of a caption is, from what it may be and from its neighbours.

Tags are single letters: N noun, S plural noun, J adjective, V base form, Z third person, D past, P past or participle, Q participle,
G -ing form, R adverb, and the closed classes: T determiner, K this/that, Y possessive pronoun, U pronoun, W relative pronoun,
X conjunction of clauses, C conjunction, M modal, B be, O to, I preposition, # number, ' possessive, "," and ".".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import ADJECTIVES, ADVERBIAL, COLOURS, PARTICLES, PLACES, PREPOSITION_HEADS

_EXPECTS_NOUN = frozenset("TYJ#'K")
_NOMINAL = frozenset("NSJ#")
_OPENS_OBJECT = frozenset("TYUK#")
_END = Word(".", ".", ".", ".", verbal=False)


@dataclass(slots=True)
class _Context:
    """What a choice may look at: the words before and after, and what the clause has had."""

    tags: list[str] = field(default_factory=list)
    before: str = "^"
    following: Word = _END
    headed: bool = False  # the clause has a finite verb
    last_noun: str = ""  # the tag of its last noun
    subject: str = ""  # the tag of its first noun group's head
    plural: bool = False  # its subject may be a plural
    single: bool = False  # "a" opened the noun group, so that its head is no plural
    nominal_next: bool = False
    alone: bool = False  # the word before is "one"
    whole: bool = False  # the word before is "all"


def tag(words: Sequence[Word]) -> list[str]:
    """Choose one tag for each word, from left to right.

    Args:
        words: what `lexicon.look_up` gives.

    Returns:
        one letter for each word.
    """
    context = _Context()
    tags = context.tags
    last = len(words) - 1
    for place, word in enumerate(words):
        context.following = following = words[place + 1] if place < last else _END
        options = word.tags
        if len(options) == 1:
            chosen = _settle(word, options, context, words, place) if options in "IRTKJYPM'" else options
        else:
            chosen = _choose(word, context, words, place)
        _advance(context, word, chosen, following)
        tags.append(chosen)
    return tags


def _advance(context: _Context, word: Word, chosen: str, following: Word) -> None:
    context.alone, context.whole = word.text == "one", word.text == "all"
    if chosen == "T":
        context.single = word.text in ("a", "an")
    elif chosen not in "JN#GPQ":
        context.single = False
    if chosen in "NSU":
        context.last_noun = chosen
        if not context.subject or context.before in "NS":
            context.subject = chosen
        context.plural = context.plural or chosen == "S" or word.text in ("they", "we", "you", "i")
    elif chosen in "ZDBMV":
        context.headed = context.headed or context.before != "O"
    elif chosen == "P":
        context.headed = context.headed or bool(context.last_noun and following.tags in ("T", "Y"))
    elif chosen in "X.W":
        context.headed = context.plural = False
        context.last_noun = context.subject = ""
    elif chosen == "C":
        context.plural = context.plural or not context.headed
        if context.headed:
            context.headed = False
            context.subject = ""
    if chosen != "R" or context.before == "^":
        context.before = chosen


def _settle(word: Word, tag: str, context: _Context, words: Sequence[Word], place: int) -> str:
    """Settle what a word of one class is here."""
    following, before, text = context.following, context.before, word.text
    if tag in "RJ" and PREPOSITION_HEADS.get(text) == following.text:
        return "R"
    if tag in "RI" and text in PLACES:
        if before in "TYJ#":
            return "J" if set(following.tags) & _NOMINAL else "N"
        if before in "I^N" and following.text == "of":
            return "N"
    if tag == "J" and text in ADVERBIAL and not set(following.tags) & _NOMINAL:
        if before in "VZDPG" or (before == "I" and words[place - 1].text in PARTICLES):
            return "R"
    if text == "other" and place and words[place - 1].text in ("each", "one"):
        return "U"
    if text == "nearby" and before in "ITYJ":
        return "J"
    if text == "can" and before in "TYJN#" and not (("V" in following.tags or following.text == "not") and before == "N"):
        return "N"
    if tag == "K":
        if text == "that" and before in "NS" and (following.tags[0] in "BMZDPU" or following.verbal or following.tags in "TY"):
            return "W"
        return "T" if set(following.tags) & _NOMINAL else "U"
    if tag == "Y" and not set(following.tags) & set("NSJ#GPQR"):
        return "U"
    if tag == "'" and before == "U" and context.tags[-1:] == ["U"] and "G" not in following.tags and set(following.tags) & set("NS"):
        context.tags[-1] = context.before = "Y"
        return tag
    if tag == "'" and before not in "NS":
        return "B"
    if tag == "T" and text not in ("a", "an", "the", "every"):
        return "T" if set(following.tags) & (_NOMINAL | set("TYGPK")) else "U"
    if tag == "R" and before in "TY" and set(following.tags) & set("NS"):
        return "J"
    return tag


def _choose(word: Word, context: _Context, words: Sequence[Word], place: int) -> str:
    options, before, following = word.tags, context.before, context.following
    if PREPOSITION_HEADS.get(word.text) == following.text:
        return "R"
    if word.text == "building":
        return "G" if before == "B" else "N"
    context.nominal_next = _begins_nominal(following, words, place)
    if context.single and context.nominal_next and following.verbal and "Z" in following.tags and not context.headed and "N" in options:
        context.nominal_next = False  # "a kid in a blue top leaps"
    if "J" in options and place + 2 < len(words):
        after = words[place + 2].tags
        if following.tags in ("C", ",") and "J" in after and (word.text in COLOURS or not set(options) & set("NS")):
            return "J"
        if before in "TYJVZDGPQI^" and set(following.tags) & set("GPQ") and set(after) & set("NS") and word.text in ADJECTIVES:
            return "J"
    if before in _EXPECTS_NOUN:
        return _in_noun_group(word, context)
    if before == "B":
        return _first(options, "GPQJNSRVDZ") if not (context.nominal_next and "S" in options) else "S"
    if before == "O":
        verb = "V" in options and (word.verbal or not set(options) & set("NSJ") or following.tags[0] in "TYU")
        return "V" if verb else _first(options, "SJNGVRPZ" if context.nominal_next else "SNJGVRPZ")
    if before == "M":
        return _first(options, "VPRZNSJG")
    if before in "UW":
        return _first(options, "ZDPVRGQJNS")
    if before in "NS'":
        return _after_noun(word, context)
    if before in "VZDPQG":
        return _after_verb(word, context)
    if before == "X":
        return _first(options, "GPQ") if set(options) & set("GPQ") and word.verbal else _noun_or_modifier(word, context)
    if before in "C,":
        return _after_conjunction(word, context)
    return _noun_or_modifier(word, context)


def _begins_nominal(following: Word, words: Sequence[Word], place: int) -> bool:
    """Whether the next word may go on with a noun group."""
    after = words[place + 2] if place + 2 < len(words) else _END
    text, tags = following.text, following.tags
    if text in PARTICLES or PREPOSITION_HEADS.get(text) == after.text:
        return False
    if "N" in tags or "S" in tags or "#" in tags:
        return True
    return "J" in tags and ("P" not in tags or not _NOMINAL.isdisjoint(after.tags))


def _first(options: str, order: str) -> str:
    for tag in order:
        if tag in options:
            return tag
    return options[0]


def _noun_or_modifier(word: Word, context: _Context) -> str:
    options = word.tags
    if context.nominal_next:
        if context.before == "I" and "G" in options and word.verbal and context.following.tags[0] in "TY":
            return "G"
        return _first(options, "JSNGPQRVZD") if "S" not in options else "S"
    if "G" in options and (context.before == "I" or (word.verbal and context.following.tags[0] in "TYIO")):
        return "G" if word.verbal or "N" not in options else "N"
    return _first(options, "SNJGPQRVZD")


def _in_noun_group(word: Word, context: _Context) -> str:
    options, following = word.tags, context.following
    if context.before == "#" and word.verbal and context.alone and not {"N", "S"} & set(following.tags):  # "while one looks on"
        return _first(options, "ZGNS")
    if context.before == "T" and word.text in COLOURS and context.whole:
        return "J"
    if context.nominal_next:
        if "J" in options and "S" not in options:
            return "J"
        if "G" in options or "P" in options or "Q" in options:
            return _first(options, "NGPQ") if not word.verbal else _first(options, "GPQN")
        return _first(options, "SNRVZD")
    if context.before == "J" and word.verbal and context.last_noun and context.tags[-2] in "IG":  # "a boy in blue watches"
        if "Z" in options and not context.headed and word.text not in ("leaves", "waves"):
            return "Z"
        if "G" in options:
            return "G"
    if context.before == "J" and "Z" in options and following.tags in ("U", "T", "Y"):
        return "Z"
    return _first(options, "SNJGPQRVZD")


def _after_noun(word: Word, context: _Context) -> str:
    options, following = word.tags, context.following
    finite = "" if word.text == "leaves" and following.tags[0] not in "TYUS" else _finite_option(options, context)
    if context.single and "Z" in options and not context.headed and not {"N", "S"} & set(following.tags):
        return "Z"
    if finite and not context.headed:
        opens = following.tags[0] in _OPENS_OBJECT or following.tags in ("I", "O", "R", ".", "X", ",", "C") or following.text in PARTICLES
        opens = opens or "G" in following.tags or (finite == "V" and context.before == "S" and context.nominal_next)
        coordinated = "C" in context.tags[-4:]  # the noun group just read is joined to another by "and"
        if finite == "V" and context.before == "N" and following.tags not in ("I", "T", "Y", "U", "O") and not coordinated:
            opens = False
        if word.verbal and (opens or finite in "ZD" or not set(options) & set("NS")):
            return finite
        if following.tags in ("T", "Y", "U") or not set(options) & set("NSJRP"):
            return finite
    if "G" in options:
        return "G" if word.verbal or "N" not in options or following.tags[0] in "TIOYU#" else "N"
    if "J" in options and not ("N" in options or "S" in options):
        return "P" if "P" in options and not context.nominal_next else "J"
    if "P" in options and "S" not in options:
        return "P" if word.verbal or "N" not in options else _first(options, "NPJ")
    return _first(options, "SNQDJRVZ")


def _finite_option(options: str, context: _Context) -> str:
    following = context.following
    if "Z" in options and (context.subject != "S" or context.before != "S" or following.tags[0] in "TYUIJ"):
        return "Z"
    if "V" in options and context.plural:
        return "V"
    if "D" in options:
        return "D"
    return ""


def _after_verb(word: Word, context: _Context) -> str:
    options = word.tags
    if context.nominal_next:
        return _first(options, "JSGPQNRVZD") if "S" not in options else "S"
    if word.text in COLOURS:
        return "J"
    if word.text in ADVERBIAL or ("R" in options and "N" not in options and "S" not in options):
        return "R"
    return _first(options, "SNJGPQRVZD")


def _after_conjunction(word: Word, context: _Context) -> str:
    """Take the word for a verb where it could be one like the last verb of the caption."""
    options, following = word.tags, context.following
    if "J" in options and not context.nominal_next and len(context.tags) > 1 and context.tags[-2] == "J":
        return "J"
    for earlier in reversed(context.tags[-40:]):
        if earlier in "VZDPQGB":
            same = earlier if earlier in options else ("Z" if earlier == "B" and "Z" in options else "")
            if same and (word.verbal or not set(options) & set("NSJ")) and not (context.nominal_next and "J" in options):
                return same
            break
    if "G" in options and (word.verbal or following.tags[0] in "TY") and following.tags[0] in "TYIOR.,C#":
        return "G"
    if "Z" in options and word.verbal and following.tags[0] in "TYIOR":
        return "Z"
    return _noun_or_modifier(word, context)
