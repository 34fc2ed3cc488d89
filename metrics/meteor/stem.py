"""The Snowball stemmer for English ("Porter2"): the first thing that METEOR compares words by that differ."""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = "aeiouy"


def _pairs(text: str) -> dict[str, str]:
    """Read `ending:stem ending:stem ...`."""
    return dict(pair.split(":") for pair in text.split())


_WHOLE_STEMS = _pairs("skis:ski skies:sky dying:die lying:lie tying:tie idly:idl gently:gentl ugly:ugli early:earli only:onli singly:singl")
_UNCHANGED = frozenset("sky news howe atlas cosmos bias andes".split())
_UNCHANGED_AFTER_1A = frozenset("inning outing canning herring earring proceed exceed succeed".split())
_STEP_2 = _pairs(
    """ization:ize ational:ate fulness:ful ousness:ous iveness:ive tional:tion biliti:ble lessli:less entli:ent ation:ate alism:al
    aliti:al ousli:ous iviti:ive fulli:ful enci:ence anci:ance abli:able izer:ize ator:ate alli:al bli:ble ogi:og li:"""
)
_STEP_3 = _pairs("ational:ate tional:tion alize:al icate:ic iciti:ic ical:ic ful: ness: ative:")
_STEP_4 = dict.fromkeys("ement ance ence able ible ment ant ent ism ate iti ous ive ize ion al er ic".split(), "")
# what must stand before some endings
_AFTER = {"ogi": ("l",), "li": tuple("cdeghkmnrt"), "ion": ("s", "t")}
# a y that is a consonant, first or after a vowel, is written as Y
_CONSONANT_Y = re.compile("(^|[aeiouy])y")
_POSSESSIVE = re.compile(r"(?:'s'|'s|')\Z")
_REGION = re.compile(r"[aeiouy][^aeiouy]")
_SHORT_END = re.compile(r"(?:.*[^aeiouy][aeiouy][^aeiouywxY]|[aeiouy][^aeiouy])", re.DOTALL)


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Give the stem of a lower-case word: `stem("running") == "run"`.

    Source: Porter 2001, Snowball: a language for stemming algorithms, the English stemmer as it is published there.
    """
    if len(word) <= 2 or word in _UNCHANGED:
        return word
    if word in _WHOLE_STEMS:
        return _WHOLE_STEMS[word]
    word = _CONSONANT_Y.sub(r"\1Y", word.removeprefix("'"))
    first, second = _regions(word)
    word = _step_1a(_POSSESSIVE.sub("", word))
    if word in _UNCHANGED_AFTER_1A:
        return word
    word = _step_1b(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        word = f"{word[:-1]}i"
    word = _exchanged(word, _STEP_2, first)
    word = _exchanged(word, _STEP_3, second if word.endswith("ative") else first)
    word = _exchanged(word, _STEP_4, second)
    return _step_5(word, first, second).replace("Y", "y")


def _regions(word: str) -> tuple[int, int]:
    """Give where the regions R1 and R2 begin: each behind the first consonant that follows a vowel."""
    prefix = next((each for each in ("gener", "commun", "arsen") if word.startswith(each)), "")
    first = len(prefix) if prefix else _after(word, 0)
    return first, _after(word, first)


def _after(word: str, start: int) -> int:
    found = _REGION.search(word, start)
    return found.end() if found else len(word)


def _is_short(word: str, first: int) -> bool:
    return first >= len(word) and _SHORT_END.fullmatch(word) is not None


def _has_vowel(part: str) -> bool:
    return any(letter in _VOWELS for letter in part)


def _step_1a(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _has_vowel(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, first: int) -> str:
    for suffix in ("eedly", "ingly", "edly", "eed", "ing", "ed"):
        if not word.endswith(suffix):
            continue
        start = len(word) - len(suffix)
        if suffix.startswith("eed"):
            return f"{word[:start]}ee" if start >= first else word
        word_left = word[:start]
        if not _has_vowel(word_left):
            return word
        if word_left.endswith(("at", "bl", "iz")):
            return f"{word_left}e"
        if word_left.endswith(("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")):
            return word_left[:-1]
        return f"{word_left}e" if _is_short(word_left, first) else word_left
    return word


def _exchanged(word: str, endings: dict[str, str], region: int) -> str:
    """Exchange the longest of some endings, if it stands in the region that begins there and behind the letters that it needs."""
    ending = max(filter(word.endswith, endings), key=len, default="")
    start = len(word) - len(ending)
    if not ending or start < region or not word[:start].endswith(_AFTER.get(ending, "")):
        return word
    return word[:start] + endings[ending]


def _step_5(word: str, first: int, second: int) -> str:
    if word.endswith("e"):
        start = len(word) - 1
        short = _SHORT_END.fullmatch(word[:-1]) is not None
        return word[:-1] if start >= second or (start >= first and not short) else word
    return word[:-1] if word.endswith("ll") and len(word) - 1 >= second else word
