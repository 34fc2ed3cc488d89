"""A metric of words that tests make rewards of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.text_scores import KeptReferences, PreparedText, Sentence, checked_references, checked_sentences


@dataclass(frozen=True)
class SharedWords:
    """The share of a sentence's words that stand in a reference."""

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        return "SharedWords", {}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        pairs = zip(*checked_sentences(hypotheses, references), strict=True)
        return np.array([np.mean([word in sum(rows, []) for word in words]) if words else 0.0 for words, rows in pairs], np.float64)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        return float(self.score(hypotheses, references).mean())

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedText:
        return KeptReferences(self, checked_references(references))


@dataclass(frozen=True)
class Seen(SharedWords):
    """One that takes a model."""

    model: str = "small"
