"""BLEU of single sentences with the smoothings that sacrebleu names, on words or token ids: the usual reward where texts are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.bleu import BleuCounts, count_matches
from seqrl.metrics.item_texts import require_some
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import Sentence, index_sentences

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
        effective_order: of sentences; the corpus score always has all orders, as in sacrebleu.

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
        value = DEFAULTS[self.smoothing] if self.value is None else self.value
        smooth = self.smoothing if value is None else f"{self.smoothing}[{value:g}]"
        return "sentence-BLEU", {"n": self.max_n, "smooth": smooth, "eff": "yes" if self.effective_order else "no"}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        return self.score_rows(*index_sentences(hypotheses, references, max_n=self.max_n))

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the score of all matches and lengths together."""
        counts = self.statistics(hypotheses, references)
        require_some(len(counts))
        return float(self.from_statistics(counts.sum(axis=0, keepdims=True))[0])

    def statistics(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Count matches and n-grams of each order, words, and words of the closest reference, [N, 2 n + 2]."""
        return count_matches(*index_sentences(hypotheses, references, max_n=self.max_n), self.max_n).stacked()

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums [B, 2 n + 2]."""
        return self._values(*BleuCounts.of_stacked(sums), effective=False)

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        counts: BleuCounts = count_matches(index, rows, self.max_n)
        correct, possible = counts.correct.astype(np.float64), counts.possible.astype(np.float64)
        return self._values(correct, possible, counts.lengths, counts.closest, effective=self.effective_order)

    def _values(
        self, correct: NDArray[Any], possible: NDArray[Any], lengths: NDArray[Any], closest: NDArray[Any], *, effective: bool
    ) -> NDArray[np.float64]:
        value = (DEFAULTS[self.smoothing] or 0.0) if self.value is None else self.value
        found = correct.sum(axis=1) > 0
        if self.smoothing == "add-k":
            added = np.where(np.arange(self.max_n) > 0, value, 0.0)
            correct, possible = correct + added, possible + added
        missing = (correct == 0) & (possible > 0)
        if self.smoothing == "exp":
            correct = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), correct)
        elif self.smoothing == "floor":
            correct = np.where(missing, value, correct)
        counts = (possible > 0) if effective else np.ones(possible.shape, bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(possible > 0, np.log(correct / possible), -np.inf)
            brevity = np.exp(np.minimum(0.0, 1.0 - closest / lengths))
        logs = np.where(counts, logs, 0.0).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        return np.where(found, brevity * np.exp(logs), 0.0)
