"""Which characters Stanford's PTBTokenizer 3.4.1 knows: the parts of words and the symbols; all others it drops.

Written from what the Java program prints for each character of the basic plane, alone, between letters and between digits.
"""

from __future__ import annotations

import unicodedata

# Marks and the like that are parts of words; letters and digits are, too.
_MARKS = """2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-36f 375 378-379 384-385 3f6 483-487 55a-55f 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 615-61a 64b-65e 670
    6d6-6e4 6e7-6ed 6fd-6fe 70f 711 730-74c 7a6-7b0 7eb-7f3 900-903 93c 93e-94e 951-955 962-963 981-983 9bc 9be-9c4 9c7-9c8
    9cb-9cd 9d7 9e2-9e3 a01-a03 a3c a3e-a4f a81-a83 abc abe-acf b82 bbe-bc2 bc6-bc8 bca-bcd c01-c03 c3e-c56 d3e-d44 d46-d48 e31
    e34-e3a e47-e4e eb1 eb4-ebc ec8-ecd 1885-1886"""
# Symbols that are words of their own.
_SYMBOLS = """80 a1-a9 ac ae-b4 b6-b9 bc-bf d7 f7 37e 387 589 5be 5c0 5c3 5c6 5f3-5f4 600-603 606-60c 614 61b 61e-61f 66a 66d 6d4 700-70d
    7f6-7f8 964-965 e3f e4f 1fbd 2016-2017 201a 201e-2023 2030-2038 203b 203e-2042 2044 2070 2074-207e 2080-208e 20a0 20a4 20ac
    2100-2101 2103-2106 2108-2109 2114 2116-2118 211e-2123 2125 2127 2129 212e 213a-213b 2140-2144 214a-214d 214f 2153-215e
    2190-2bff 3001-3002 3012 30fb ff01-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffe1 ffe5-ffe6"""


def _numbers(ranges: str) -> list[tuple[int, int]]:
    ends = [part.split("-") for part in ranges.split()]
    return [(int(first[0], 16), int(first[-1], 16)) for first in ends]


def _pattern(ranges: str) -> str:
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in _numbers(ranges))


MARKS = _pattern(_MARKS)
SYMBOLS = _pattern(_SYMBOLS)
_KEPT = frozenset(code for part in (_MARKS, _SYMBOLS) for first, last in _numbers(part) for code in range(first, last + 1))
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
