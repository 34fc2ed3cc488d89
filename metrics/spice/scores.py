"""Candidates' scene graphs against those of references that are read once: counts of matched tuples, and F-scores of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.rows import split_words
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.matching import ReferenceTuples, Synonyms, Tuples
from seqrl.metrics.spice.words import KIND_OF_ATTRIBUTE
from seqrl.metrics.text_scores import References, Sentence, check_items, checked_references

Parser = Callable[[Sequence[str]], SceneGraph]

CATEGORIES = ("all", "object", "relation", "attribute", "colour", "count", "size")
_BY_LENGTH = {1: "object", 2: "attribute", 3: "relation"}
# A row of numbers is made into sets when its item is scored; so many items are kept that way, 7 kB each.
_ITEMS_LAID_OUT = 4096


def categories(each: tuple[str, ...]) -> tuple[str, ...]:
    """Name the sub-scores that a tuple counts in: an attribute that is a colour, a count or a size counts in that one, too."""
    kind = KIND_OF_ATTRIBUTE.get(each[1]) if len(each) == 2 else None
    return ("all", _BY_LENGTH[len(each)]) if kind is None else ("all", _BY_LENGTH[len(each)], kind)


def f_score(matched: NDArray[np.int64], candidate: NDArray[np.int64], reference: NDArray[np.int64], *, none: float) -> NDArray[np.float64]:
    """Give F = 2 P R / (P + R) = 2 matched / (candidate + reference), numbers of tuples; `none` where there are no tuples at all."""
    total = candidate + reference
    return np.where(total > 0, 2 * matched / np.maximum(total, 1), none)


class PreparedSpice:
    """References of every item, read as scene graphs when the item is first scored, and kept.

    Args:
        references: for each item its references, tokenised strings or lists of words.
        parser: turns words into a scene graph.
        synonyms: say which names match.
        cached: captions whose graphs are kept, the last ones that were scored; 0 keeps none.

    Raises:
        ValueError: for an item without references or an empty reference.
    """

    def __init__(self, references: References, parser: Parser, synonyms: Synonyms, cached: int) -> None:
        # What is split here to be checked is split again when its item is scored: the words of 100,000 items would take 0.4 GB until then.
        checked_references(references)
        self._parser, self._synonyms = parser, synonyms
        self._given: list[Sequence[Sentence] | None] = list(references)
        self._rows: list[array[int] | None] = [None] * len(references)
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._read = lru_cache(cached)(self._read_caption)
        self._laid_out = lru_cache(_ITEMS_LAID_OUT)(self._lay_out)

    def score(self, hypotheses: Sequence[Sentence], items: Sequence[int]) -> NDArray[np.float64]:
        """Score captions, each against the references of its item, [N] float64; a caption without tuples scores 0.

        Raises:
            ValueError: for different counts, or an item that is not there.
        """
        matched, candidate, reference = self._counts(hypotheses, items, ("all",))["all"].T
        return f_score(matched, candidate, reference, none=0.0)

    def counts(self, hypotheses: Sequence[Sentence], items: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        """Count tuples in each category of `CATEGORIES`: matched, of the candidate, of the references, [N, 3] each."""
        return self._counts(hypotheses, items, CATEGORIES)

    def _counts(self, hypotheses: Sequence[Sentence], items: Sequence[int], wanted: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        check_items(hypotheses, items, len(self._rows))
        rows: dict[str, list[tuple[int, int, int]]] = {name: [] for name in wanted}
        for hypothesis, item in zip(hypotheses, items, strict=True):
            candidate = self._read(_words(hypothesis))
            reference = self._laid_out(int(item))
            matched = reference.matched(candidate, self._synonyms)
            if wanted == ("all",):
                rows["all"].append(_capped(sum(matched), len(candidate), len(reference.tuples)))
                continue
            of_candidate = [categories(each) for each in candidate]
            of_reference = [categories(each) for each in reference.tuples]
            for name in wanted:
                hits = sum(hit and name in of for hit, of in zip(matched, of_candidate, strict=True))
                rows[name].append(_capped(hits, sum(name in of for of in of_candidate), sum(name in of for of in of_reference)))
        return {name: np.array(each, np.int64).reshape(-1, 3) for name, each in rows.items()}

    def _read_caption(self, words: tuple[str, ...]) -> Tuples:
        return self._synonyms.merge([self._parser(words)])

    def _lay_out(self, item: int) -> ReferenceTuples:
        row = self._rows[item]
        if row is None:
            distinct = dict.fromkeys(_words(sentence) for sentence in self._given[item] or ())
            graphs = [self._parser(words) for words in distinct]
            row = self._rows[item] = self._packed(self._synonyms.merge(graphs))
            self._given[item] = None
        names, place, tuples = self._names, 0, []
        while place < len(row):
            length = row[place]
            tuples.append(tuple([names[number] for number in row[place + 1 : place + 1 + length]]))
            place += 1 + length
        return ReferenceTuples(tuples)

    def _packed(self, tuples: Iterable[tuple[str, ...]]) -> array[int]:
        """Write tuples as numbers, each tuple's length before it: a twentieth of the memory, for corpora of a hundred thousand items."""
        row = array("i")
        for each in tuples:
            row.append(len(each))
            for name in each:
                if name not in self._numbers:
                    self._numbers[name] = len(self._names)
                    self._names.append(name)
                row.append(self._numbers[name])
        return row


def _words(sentence: Sentence) -> tuple[str, ...]:
    return tuple(sentence.lower().split()) if isinstance(sentence, str) else tuple(map(str.lower, split_words(sentence)))


def _capped(matched: int, candidate: int, reference: int) -> tuple[int, int, int]:
    # Synonymy is not transitive: two names of a caption may match one of the references', which may not count as two.
    return min(matched, reference), candidate, reference
