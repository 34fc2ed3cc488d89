"""BLEU: how many of a sentence's n-grams stand in a reference; coco-caption's, sacrebleu's of sentences, and what one adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import bleu_kernels, kernels
from seqrl.metrics.item_texts import corpus_score_of_statistics, require_some
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import References, Sentence, TokenMetric, index_sentences, prepare_rows, score_sentences

# what sacrebleu calls them
SMOOTHINGS = {"none": "none", "add_one": "add-k", "exponential": "exp"}

# What each adds where no other value is given; None where there is nothing to set.
DEFAULTS: dict[str, float | None] = {"none": None, "floor": 0.1, "add-k": 1.0, "exp": None}
# coco-caption keeps its divisions defined with these two, and its scores of short sentences depend on them
TINY, SMALL = 1e-15, 1e-9


class BleuCounts(NamedTuple):
    """What BLEU is made of: clipped matches and n-grams [N, n], lengths [N] and closest reference lengths [N], in words."""

    correct: NDArray[np.int64]
    possible: NDArray[np.int64]
    lengths: NDArray[np.int64]
    closest: NDArray[np.int64]

    def stacked(self) -> NDArray[np.float64]:
        """Give a row for each sentence, [N, 2 n + 2], whose sums are the counts of a corpus."""
        return np.column_stack(self).astype(np.float64)

    @classmethod
    def of_stacked(cls, rows: NDArray[Any]) -> BleuCounts:
        """Take such rows, or sums of them, apart."""
        n = rows.shape[1] // 2 - 1
        return cls(rows[:, :n], rows[:, n : 2 * n], rows[:, -2], rows[:, -1])


@dataclass(frozen=True)
class Bleu:
    """BLEU with n-grams of 1 to max_n words against the reference of the closest length, range 0 to 1.

    score = min(1, exp(1 - r / c)) (prod_n p_n)^(1 / max_n), with p_n the share of the c - n + 1 n-grams that also stand in
    a reference (each at most as often as there), c the length and r that of the closest reference (the shorter of two).

    Args:
        max_n: longest n-gram, in words.
        smoothing: of the scores of single sentences; the corpus score is never smoothed. "none" is coco-caption's, which
            gives nearly 0 without a match of the longest n-gram; "add_one" adds one match and one n-gram for n > 1 (Lin and
            Och 2004, BLEU-S); "exponential" takes the k-th order without a match for 2^-k matches (NIST mteval-v13a).
        score_end: the end of the sentence counts as a word.

    Raises:
        ValueError: for an unknown smoothing, an item without references or an empty reference.

    Source: Papineni et al. 2002 (BLEU); smoothing: Lin & Och 2004 (ORANGE), and NIST's mteval-v13a.
    Differs from: the paper, as coco-caption does, in adding 1e-15 to the matches and 1e-9 to the n-grams.
    """

    max_n: int = 4
    smoothing: str = "none"
    score_end: bool = False
    bound: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown smoothing."""
        if self.smoothing not in SMOOTHINGS:
            raise ValueError(f"unknown smoothing {self.smoothing!r}: expected one of {', '.join(SMOOTHINGS)}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return f"BLEU-{self.max_n}", {"n": self.max_n, "smooth": self.smoothing}

    score = score_sentences
    prepare = prepare_rows

    def corpus(self, hypotheses: Sequence[Sentence], references: References) -> float:
        """Give the published score, from the matches and lengths of all sentences together."""
        counts = count_matches(*index_sentences(self, hypotheses, references), self.max_n)
        require_some(len(counts.lengths))
        return float(_unsmoothed(BleuCounts(*(values.sum(axis=0, keepdims=True) for values in counts)))[0])

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        counts = count_matches(index, rows, self.max_n)
        if self.smoothing == "none":
            return _unsmoothed(counts)
        return smoothed_bleu(counts, SMOOTHINGS[self.smoothing], 1.0, effective=False)


def count_matches(index: ReferenceIndex, rows: HypothesisRows, max_n: int) -> BleuCounts:
    """Count the clipped n-gram matches of rows of token ids, and the lengths that the brevity penalty compares."""
    num_rows = len(rows.items)
    shapes = ((num_rows, max_n), (num_rows, max_n), num_rows, num_rows)
    counts = BleuCounts(*(np.empty(shape, np.int64) for shape in shapes))
    kernels.scored_lengths(rows.tokens, rows.lengths, index.end_id, index.score_end, counts.lengths)
    bleu_kernels.bleu_counts(rows.tokens, rows.items, max_n, *index.rows, *counts)
    return counts


def bleu_statistics(self: TokenMetric, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Count matches and n-grams of each order, words, and words of the closest reference, [N, 2 n + 2]."""
    return count_matches(*index_sentences(self, hypotheses, references), self.max_n).stacked()


def _unsmoothed(counts: BleuCounts) -> NDArray[np.float64]:
    scores = np.empty(len(counts.lengths), np.float64)
    bleu_kernels.bleu_values(*counts, TINY, SMALL, scores)
    return scores


def bleu_of_counts(counts: BleuCounts) -> NDArray[np.float64]:
    """Give coco-caption's BLEU of 1 to n words, [N, n].

    score_n = (prod_k (correct_k + tiny) / (possible_k + small))^(1/n) min(1, exp(1 - r / c)), with c = length + tiny, r = closest + small
    """
    brevity = np.exp(np.minimum(0.0, 1.0 - (counts.closest + SMALL) / (counts.lengths + TINY)))
    orders = np.arange(1, counts.correct.shape[1] + 1)
    return np.cumprod((counts.correct + TINY) / (counts.possible + SMALL), axis=1) ** (1.0 / orders) * brevity[:, None]


def smoothed_bleu(counts: BleuCounts, smoothing: str, value: float, *, effective: bool) -> NDArray[np.float64]:
    """Give sacrebleu's BLEU over 100, [N]; 0 where nothing is in common.

    Args:
        counts: of sentences or corpora.
        smoothing: "floor" takes `value` for 0 matches, "add-k" adds `value` to matches and n-grams of n > 1, "exp" takes the k-th order
            without a match for 2^-k matches, "none" leaves them.
        value: of "floor" and "add-k".
        effective: average over the orders of which there are n-grams, not over all.
    """
    correct, possible = counts.correct.astype(np.float64), counts.possible.astype(np.float64)
    found = correct.sum(axis=1) > 0
    if smoothing == "add-k":
        added = np.where(np.arange(correct.shape[1]) > 0, value, 0.0)
        correct, possible = correct + added, possible + added
    missing = (correct == 0) & (possible > 0)
    if smoothing == "exp":
        correct = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), correct)
    elif smoothing == "floor":
        correct = np.where(missing, value, correct)
    counted = (possible > 0) if effective else np.ones(possible.shape, bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(possible > 0, np.log(correct / possible), -np.inf)
        brevity = np.exp(np.minimum(0.0, 1.0 - counts.closest / counts.lengths))
    logs = np.where(counted, logs, 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return np.where(found, brevity * np.exp(logs), 0.0)


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
        smooth = self.smoothing if self._value is None else f"{self.smoothing}[{self._value:g}]"
        return "sentence-BLEU", {"n": self.max_n, "smooth": smooth, "eff": "yes" if self.effective_order else "no"}

    score = score_sentences
    corpus = corpus_score_of_statistics
    statistics = bleu_statistics

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums [B, 2 n + 2]."""
        return smoothed_bleu(BleuCounts.of_stacked(sums), self.smoothing, self._value or 0.0, effective=False)

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        counts = count_matches(index, rows, self.max_n)
        return smoothed_bleu(counts, self.smoothing, self._value or 0.0, effective=self.effective_order)

    @property
    def _value(self) -> float | None:
        return DEFAULTS[self.smoothing] if self.value is None else self.value


@dataclass(frozen=True)
class CorpusBleuGain:
    """Scores N (BLEU of the corpus with this hypothesis - BLEU of the corpus without its item), for N items; the corpus is what is scored
    together, in training the batch.

    The difference of two scores of an item is N times what corpus BLEU gains when one hypothesis replaces the other. Where an item has
    several hypotheses, each of the other items counts with the mean of its own.

    Args:
        max_n: longest n-gram, in words.

    Raises:
        ValueError: for an item without references or an empty reference.
    """

    max_n: int = 4
    bound: ClassVar[float] = np.inf
    # A hypothesis has no score of its own.
    scores_together: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "corpus-BLEU-gain", {"n": self.max_n}

    score = score_sentences
    corpus = corpus_score_of_statistics
    statistics = bleu_statistics

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give BLEU [B] of sums [B, 2 n + 2]."""
        # a difference of equal numbers may be a little below 0
        return bleu_of_counts(BleuCounts.of_stacked(np.maximum(sums, 0.0)))[:, -1]

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids, [N] float64; rows of one item stand for each other."""
        counts = count_matches(index, rows, self.max_n).stacked()
        items, place = np.unique(rows.items, return_inverse=True)
        means = np.zeros((len(items), counts.shape[1]))
        np.add.at(means, place, counts)
        means /= np.bincount(place, minlength=len(items))[:, None]
        others = means.sum(axis=0) - means
        return len(items) * (self.from_statistics(others[place] + counts) - self.from_statistics(others)[place])
