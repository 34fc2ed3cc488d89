"""The words for what a drawn scene holds: the captions are written with them, and read back.

`scene_words.json` lists wordings with their weights. A noun or a verb has a singular and a plural; a texture stands before its noun or
behind it. Of a relation there are words for the first thing as seen from the second, and for the second as seen from the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqrl.metrics.text_files import read_json

WORDS: dict[str, Any] = read_json(Path(__file__).with_name("scene_words.json"))


def grammar_words() -> list[str]:
    """Give every word that a caption can hold, tokenised, in alphabetical order: the same for any number of scenes."""
    return sorted({word for text in (*_texts(WORDS), "a an there is are and") for word in text.split()})


def _texts(table: Any) -> Iterator[str]:
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict | list):
        for part in table.values() if isinstance(table, dict) else table:
            yield from _texts(part)
