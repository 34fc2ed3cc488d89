"""What METEOR knows about single words: stems, sets of synonyms, function words, and their numbers in the table of paraphrases."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seqrl.metrics.meteor.kernels import WordArrays
from seqrl.metrics.meteor.resources import english_bases, english_synsets, function_words
from seqrl.metrics.meteor.stem import stem
from seqrl.metrics.rows import end_to_end

# WordNet's rules for regular forms: an ending, and what stands in its place in the base form; the first that gives a word is taken.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"), ("es", "e")),
    *(("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


def synsets_of(word: str) -> tuple[int, ...]:
    """Give the sets of synonyms of a word and of its base forms, ascending.

    Source: Miller et al. 1990, Introduction to WordNet, the rules of its morphology.
    """
    synsets = english_synsets()
    found = set(synsets.get(word, ()))
    bases = english_bases().get(word)
    if bases is None:
        # two letters are no form of another word: "as" is not the plural of "a"
        made = (word[: -len(ending)] + put for ending, put in _ENDINGS if word.endswith(ending) and len(word) > 2)
        bases = next(((base,) for base in made if base in synsets), ())
    for base in bases:
        found.update(synsets.get(base, ()))
    return tuple(sorted(found))


class WordTable:
    """Numbers words and keeps what METEOR knows about each; grows as new words come.

    Args:
        phrase_numbers: numbers of the words that stand in the table of paraphrases.
    """

    def __init__(self, phrase_numbers: dict[str, int]) -> None:
        self.numbers: dict[str, int] = {}
        self._phrase_numbers = phrase_numbers
        self._stem_numbers: dict[str, int] = {}
        self._stems: list[int] = []
        self._synsets: list[tuple[int, ...]] = []
        self._function: list[bool] = []
        self._phrase_words: list[int] = []
        self._arrays: WordArrays | None = None

    def number(self, words: Iterable[str]) -> list[int]:
        """Number words, new ones too."""
        return [self.numbers[word] if word in self.numbers else self._add(word) for word in words]

    def _add(self, word: str) -> int:
        number = self.numbers[word] = len(self.numbers)
        stemmed = stem(word) if len(word) <= 100 else word
        self._stems.append(self._stem_numbers.setdefault(stemmed, len(self._stem_numbers)))
        self._synsets.append(synsets_of(word))
        self._function.append(word in function_words())
        self._phrase_words.append(self._phrase_numbers.get(word, -1))
        self._arrays = None
        return number

    def arrays(self) -> WordArrays:
        """Give the arrays over all words so far."""
        if self._arrays is None:
            synsets, starts = end_to_end(self._synsets)
            bits = np.uint64(1) << (synsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(58))
            digests = np.zeros(len(self._synsets), np.uint64)
            np.bitwise_or.at(digests, np.repeat(np.arange(len(digests)), np.diff(starts)), bits)
            self._arrays = WordArrays(
                np.array(self._stems, np.int32),
                starts,
                synsets,
                digests,
                np.array(self._function, np.bool_),
                np.array(self._phrase_words, np.int32),
            )
        return self._arrays
