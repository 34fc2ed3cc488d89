"""Which characters Stanford's PTBTokenizer 3.4.1 knows: the parts of words and the symbols; all others it drops.

Written from what the Java program prints for each character of the basic plane, alone, between letters and between digits.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from seqrl.metrics.text_files import word_lists

LISTS = word_lists(Path(__file__).with_name("ptb_lists.txt"))


def _ranges(name: str) -> list[tuple[int, int]]:
    ends = [part.split("-") for part in LISTS[name]]
    return [(int(first[0], 16), int(first[-1], 16)) for first in ends]


def _pattern(name: str) -> str:
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in _ranges(name))


MARKS = _pattern("marks")
SYMBOLS = _pattern("symbols")
_KEPT = frozenset(code for name in ("marks", "symbols") for first, last in _ranges(name) for code in range(first, last + 1))
# What stands for something else; a soft hyphen is no character, and the hyphens are looked at later.
_WRITTEN = {mark: mark for mark in "«»‹›“”–—―…\u2019\u2010\u2011\u058a"} | {"\u2018": "`", "\u201b": "`", "\u00ad": ""}


class _Known(dict[int, str]):
    """A table for `str.translate` that finds out about a character when it first comes."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        known = code < 0x80 or (code < 0x10000 and (kind[0] == "L" or kind == "Nd" or code in _KEPT))
        self[code] = character if known else " "
        return self[code]


_TABLE = _Known({ord(character): written for character, written in _WRITTEN.items()})


def known_characters(text: str) -> str:
    """Put a space where a character is unknown, and write the quotes that mean the same in one way."""
    return text if text.isascii() else text.translate(_TABLE)
