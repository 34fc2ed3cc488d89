"""SPICE: captions as scene graphs, compared by their tuples, without Java."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import mean
from seqrl.metrics.rows import require_list, require_pairs, split_words
from seqrl.metrics.spice.graph import SceneGraph
from seqrl.metrics.spice.matching import Synonyms, english_synonyms
from seqrl.metrics.spice.parser import parse
from seqrl.metrics.spice.scores import CATEGORIES, Parser, PreparedSpice, f_score
from seqrl.metrics.text_scores import Sentence

__all__ = ["CATEGORIES", "PARSER_VERSION", "PreparedSpice", "SceneGraph", "Spice", "Synonyms", "parse"]

# Part of the signature: it goes up with any change to the parser that changes a score.
PARSER_VERSION = "seqrl-1"


@dataclass(frozen=True)
class Spice:
    """SPICE: how well the things, attributes and relations of a caption agree with those of its references, range 0 to 1.

    score = 2 P R / (P + R), P = |T(c) x T(S)| / |T(c)|, R = |T(c) x T(S)| / |T(S)|
    with T(c) the tuples of the caption's scene graph (object; object, attribute; subject, relation, object), T(S) those of the union of
    its references' graphs, and x the tuples of T(c) that match one of T(S): equal names, or names that share a synset of WordNet.

    Captions are words as coco-caption's tokeniser gives them, or with the punctuation marks as words of their own, which the parser reads.

    Args:
        cached: captions whose graphs are kept between calls of prepared references, the last ones scored; rewards see captions again.
        parser: turns words into a scene graph; None takes this package's own.
        synonyms: say which names match; None takes METEOR's English synsets.

    Raises:
        ValueError: for an item without references, an empty reference, or different counts.

    Source: Anderson et al. 2016 (SPICE).
    Differs from: the official program in the parser, which is our own (the program's needs Java and a model of Stanford's); docs/metrics.md
    says how closely the scores agree. No count of matched tuples exceeds that of the references' tuples, so that the range holds.
    """

    cached: int = 2**16
    parser: Parser | None = None
    synonyms: Synonyms | None = None
    bound: ClassVar[float] = 1.0
    higher_is_better: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        parser = PARSER_VERSION if self.parser is None else getattr(self.parser, "__name__", "own")
        return "SPICE", {"parser": parser, "synonyms": None if self.synonyms is None else "own"}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        prepared, items = self._prepared(hypotheses, references)
        return prepared.score(hypotheses, items)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the published score: the mean of the scores."""
        return mean(self.score(hypotheses, references))

    def counts(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> dict[str, NDArray[np.int64]]:
        """Count tuples in each category of `CATEGORIES`: matched, of the candidate, of the references, [N, 3] each."""
        prepared, items = self._prepared(hypotheses, references)
        return prepared.counts(hypotheses, items)

    def parts(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> dict[str, NDArray[np.float64]]:
        """Score each category of `CATEGORIES` by itself, [N] float64 each.

        "attribute" holds colours, counts and sizes, too. Where neither the hypothesis nor a reference has a tuple of a category, its
        score is not defined and NaN, as in the official program's output: average with `numpy.nanmean`. "all" is `score`.
        """
        counts = self.counts(hypotheses, references)
        return {name: f_score(*each.T, none=0.0 if name == "all" else np.nan) for name, each in counts.items()}

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedSpice:
        """Take references once; the result scores captions against them and keeps the graphs that it has read.

        An item's references are read when the item is first scored: reading those of a hundred thousand images takes minutes.
        """
        return PreparedSpice(references, self.parser or parse, self.synonyms or english_synonyms(), self.cached)

    def _prepared(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> tuple[PreparedSpice, list[int]]:
        require_pairs(hypotheses, references)
        # Captions of one image come with the same references, which are read once.
        numbers: dict[Any, int] = {}
        distinct: list[Sequence[Sentence]] = []
        items = []
        for item, sentences in enumerate(references):
            require_list(sentences, f"the references of item {item}")
            key = tuple(sentence if isinstance(sentence, str) else tuple(split_words(sentence)) for sentence in sentences)
            if key not in numbers:
                numbers[key] = len(distinct)
                distinct.append(sentences)
            items.append(numbers[key])
        return self.prepare_words(distinct), items
