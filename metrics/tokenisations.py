"""What counts as a word: coco-caption's words, what stands between spaces, or characters for scripts that put no spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from seqrl.metrics.tokenize import ptb_tokenize

# Scripts without spaces: Thai, Lao, Tibetan, Myanmar, Khmer, kana, bopomofo, Han with its extensions.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3041-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LONG_WORD = 3  # characters; words of Chinese have two on average


@dataclass(frozen=True)
class Tokenisation:
    """How text is split into words, and how words are put together again.

    Attributes:
        name: what settings call it; document frequencies of CIDEr keep it.
        split: from a text to its words.
        between: what stands between two words of a text.
    """

    name: str
    split: Callable[[str], list[str]]
    between: str

    def join(self, words: Sequence[str]) -> str:
        """Write words as a text."""
        return self.between.join(words)


def character_tokenize(text: str) -> list[str]:
    """Split a text into its characters, lower case, marks with the character before them; spaces and punctuation are left out."""
    characters: list[str] = []
    for character in text.lower():
        category = unicodedata.category(character)
        if category[0] == "M" and characters:
            characters[-1] += character
        elif category[0] not in "PZC":
            characters.append(character)
    return characters


TOKENISATIONS = {
    "ptb": Tokenisation("ptb", ptb_tokenize, " "),
    "characters": Tokenisation("characters", character_tokenize, ""),
    "spaces": Tokenisation("spaces", str.split, " "),
}


def tokenisation_by_name(name: str) -> Tokenisation:
    """Find a tokenisation.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in TOKENISATIONS:
        raise ValueError(f"tokens: expected one of {', '.join(TOKENISATIONS)}, got {name!r}")
    return TOKENISATIONS[name]


def unspaced_example(texts: Iterable[str]) -> str | None:
    """Give a text without spaces where most are written so that a whole sentence would count as one word, else None."""
    count, found = 0, []
    for text in texts:
        if not text.strip():
            continue
        count += 1
        if text.isascii() or not _UNSPACED.search(text):
            continue
        longest = max(ptb_tokenize(text), key=len, default="")
        if len(_UNSPACED.findall(longest)) >= max(_LONG_WORD, len("".join(text.split())) / 2):
            found.append(text)
    return found[0] if 2 * len(found) > count else None
