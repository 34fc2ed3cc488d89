"""METEOR's own tokenisation (`-norm`): lower case, punctuation apart, hyphens between letters and periods of acronyms gone.

Written from what METEOR 1.5 prints for given lines; words of letters and digits, which coco-caption's captions are nearly all made of,
stay as they are.
"""

from __future__ import annotations

import re
from functools import cache

from seqrl.metrics.meteor.resources import read_lines

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "`": "'", "–": "-"})
_PLAIN = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*", re.ASCII)
_DOTS = re.compile(r"\.{2,}")


def normalise(text: str) -> list[str]:
    """Split a line into the words that METEOR compares.

    Args:
        text: a sentence; white space separates words.

    Returns:
        words in lower case: "the well-known u.s. cat's" gives the, well, known, us, cat, 's.
    """
    if _PLAIN.fullmatch(text):
        return text.split(" ")
    if "." not in text:
        return [word for token in text.split() for word in _split(token)]
    tokens = _without_acronyms(text).split()
    words: list[str] = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        words += _split_period(token, following)
    return words


def _without_acronyms(text: str) -> str:
    """Take the periods out of single letters with a period each: "u.s." is "us"."""
    return re.sub(
        r"(?<!\S)(?:[^\W\d_]\.){2,}(?!\S)|(?<!\S)ph\.d\.(?!\S)", lambda found: found[0].replace(".", ""), text, flags=re.IGNORECASE
    )


def _split_period(token: str, following: str) -> list[str]:
    words = _split(_DOTS.sub(lambda dots: f" {dots[0]} ", token))
    if not words or len(words[-1]) < 2 or not words[-1].endswith(".") or not words[-1].strip("."):
        return words
    stem = words[-1][:-1]
    keeps = ("." in stem and any(letter.isalpha() for letter in stem)) or token[:-1] in _prefixes()[0] or following[:1].islower()
    if keeps or (token[:-1] in _prefixes()[1] and following[:1].isdigit()):
        return words
    return [*words[:-1], stem, "."]


@cache
def _prefixes() -> tuple[frozenset[str], frozenset[str]]:
    """Give what keeps its period always, and what keeps it before a number."""
    lines = [line.strip() for line in read_lines("nonbreaking/english.prefixes")]
    kept = {line for line in lines if line and not line.startswith("#") and "#NUMERIC_ONLY#" not in line}
    numeric = {line.split()[0] for line in lines if line.endswith("#NUMERIC_ONLY#")}
    return frozenset(kept), frozenset(numeric)


_APART = re.compile(r"([^\w\s.'’,-]|_)")


def _split(token: str) -> list[str]:
    """Split a token without looking at its neighbours."""
    text = token.translate(_QUOTES).replace("''", '"')
    text = re.sub(r"-{2,}", "-", text)
    text = re.sub(r"(?<=\w)-(?=\w)", " ", text)
    text = re.sub(r"(?<=[^\W_])-(?=\s|$)|(?<![^\s])-(?=[^\W_])", " - ", text)
    if not re.fullmatch(r"-(?:lrb|rrb|lsb|rsb|lcb|rcb)-", token, re.IGNORECASE):
        text = _APART.sub(r" \1 ", text)
    else:
        text = token
    text = re.sub(r"(?<!\d),|,(?!\d)", " , ", text)
    text = re.sub(r"(?<=[^\W\d_])'(?=[^\W\d_])", " '", text)
    text = re.sub(r"(?<=\d)'(?=s(?!\w))", " '", text)
    text = re.sub(r"(?<!\s)'(?![^\W\d_])|(?<![\w\s])'|(?<!\S)'(?=\w)", " ' ", text) if " '" not in text else text
    return [part.lower() for word in text.split() for part in _letters_apart(word)]


def _letters_apart(word: str) -> list[str]:
    """Set apart each character of the scripts that METEOR takes for symbols."""
    if word.isascii():
        return [word]
    return re.sub(r"([^\x00-\u024f\u1e00-\u1eff])", r" \1 ", word).split()
