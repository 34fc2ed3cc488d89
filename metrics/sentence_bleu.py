"""BLEU of single sentences with the smoothings that sacrebleu names, on words or token ids: the usual reward where texts are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import BleuCounts, bleu_statistics, count_matches, smoothed_bleu
from seqrl.metrics.item_texts import figure_of_statistics
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import score_sentences

# What each adds where no other value is given; None where there is nothing to set.
DEFAULTS: dict[str, float | None] = {"none": None, "floor": 0.1, "add-k": 1.0, "exp": None}


@dataclass(frozen=True)
class SentenceBleu:
    """sacrebleu's BLEU of a sentence, divided by 100, of text that is split into words already; range 0 to 1.

    score = min(1, exp(1 - r / c)) (prod_{n <= m} p_n)^(1 / m), where m is the longest order of which the sentence has an n-gram
    (`effective_order`), else max_n, and p_n the share of n-grams that stand in a reference, smoothed: "floor" takes `value` for 0 matches,
    "add-k" adds `value` to matches and n-grams of n > 1, "exp" takes the k-th order without a match for 2^-k matches.

    Args:
        smoothing: "exp", "floor", "add-k" or "none".
        value: of "floor" and "add-k"; sacrebleu's own when None, 0.1 and 1.
        max_n: longest n-gram, in words.
        effective_order: of sentences; the corpus figure always has all orders, as in sacrebleu.

    Raises:
        ValueError: for an unknown smoothing, a value where none is read, an item without references or an empty reference.

    Source: Chen & Cherry 2014 (A systematic comparison of smoothing techniques for sentence-level BLEU), methods 1, 2 and 3; Post 2018
    (A call for clarity in reporting BLEU scores).
    """

    smoothing: str = "exp"
    value: float | None = None
    max_n: int = 4
    effective_order: bool = True
    bound: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Refuse what sacrebleu does not know."""
        if self.smoothing not in DEFAULTS:
            raise ValueError(f"smoothing: expected one of {', '.join(DEFAULTS)}, got {self.smoothing!r}")
        if self.value is not None and (DEFAULTS[self.smoothing] is None or not self.value > 0):
            raise ValueError(f"value: expected a number above 0 with floor or add-k alone, got {self.value} with {self.smoothing}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        smooth = self.smoothing if self._value is None else f"{self.smoothing}[{self._value:g}]"
        return "sentence-BLEU", {"n": self.max_n, "smooth": smooth, "eff": "yes" if self.effective_order else "no"}

    score = score_sentences
    corpus = figure_of_statistics
    statistics = bleu_statistics

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus figures [B] of sums [B, 2 n + 2]."""
        return smoothed_bleu(BleuCounts.of_stacked(sums), self.smoothing, self._value or 0.0, effective=False)

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        counts = count_matches(index, rows, self.max_n)
        return smoothed_bleu(counts, self.smoothing, self._value or 0.0, effective=self.effective_order)

    @property
    def _value(self) -> float | None:
        return DEFAULTS[self.smoothing] if self.value is None else self.value
