"""BLEU: how many of a sentence's n-grams stand in a reference; coco-caption's, smoothed, and that of sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import bleu_kernels, kernels
from seqrl.metrics.item_texts import require_some
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.text_scores import checked_sentences
from seqrl.metrics.token_scores import PreparedMetric, Sentence, index_sentences, prepare_references

SMOOTHINGS = ("none", "add_one", "exponential")

# coco-caption keeps its divisions defined with these two, and its scores of short sentences depend on them
_TINY = 1e-15
_SMALL = 1e-9


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

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        index, rows = index_sentences(hypotheses, references, max_n=self.max_n, score_end=self.score_end)
        return self.score_rows(index, rows)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the published score, from the matches and lengths of all sentences together."""
        index, rows = index_sentences(hypotheses, references, max_n=self.max_n, score_end=self.score_end)
        require_some(len(rows.items))
        counts = count_matches(index, rows, self.max_n)
        return float(_unsmoothed(BleuCounts(*(values.sum(axis=0, keepdims=True) for values in counts)))[0])

    def prepare(self, references: Sequence[Sequence[Sequence[int]]] | ReferenceIndex, *, end: int | None = None) -> PreparedMetric:
        """Count references of token ids once (rows without special tokens); the result scores batches of rows."""
        return PreparedMetric(self, prepare_references(references, max_n=self.max_n, end=end, score_end=self.score_end))

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        counts = count_matches(index, rows, self.max_n)
        return _unsmoothed(counts) if self.smoothing == "none" else _smoothed(counts, self.smoothing)


def count_matches(index: ReferenceIndex, rows: HypothesisRows, max_n: int) -> BleuCounts:
    """Count the clipped n-gram matches of rows of token ids, and the lengths that the brevity penalty compares."""
    num_rows = len(rows.items)
    shapes = ((num_rows, max_n), (num_rows, max_n), num_rows, num_rows)
    counts = BleuCounts(*(np.empty(shape, np.int64) for shape in shapes))
    kernels.scored_lengths(rows.tokens, rows.lengths, index.end_id, index.score_end, counts.lengths)
    references = index.rows
    bleu_kernels.bleu_counts(
        rows.tokens,
        counts.lengths,
        rows.items,
        max_n,
        references.tokens,
        references.row_starts,
        references.item_rows,
        counts.correct,
        counts.possible,
        counts.closest,
    )
    return counts


def _unsmoothed(counts: BleuCounts) -> NDArray[np.float64]:
    scores = np.empty(len(counts.lengths), np.float64)
    bleu_kernels.bleu_values(*counts, _TINY, _SMALL, scores)
    return scores


def _smoothed(counts: BleuCounts, smoothing: str) -> NDArray[np.float64]:
    correct, possible = counts.correct.astype(np.float64), counts.possible.astype(np.float64)
    if smoothing == "add_one":
        correct[:, 1:] += 1.0
        possible[:, 1:] += 1.0
    else:
        missing = (correct == 0) & (possible > 0)
        correct = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), correct)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(possible > 0, correct / possible, 0.0)
        brevity = np.exp(np.minimum(0.0, 1.0 - counts.closest / counts.lengths))
        score = brevity * np.exp(np.log(precision).mean(axis=1))
    return np.where(counts.correct[:, 0] > 0, score, 0.0)  # nothing in common scores 0, as in sacrebleu


@dataclass(frozen=True)
class SacreBleu:
    """BLEU as sacrebleu computes it with its default settings, range 0 to 100; for text as it was written, cased and not yet split.

    The words of a captioner have lost case and punctuation, and token ids are no text at all: it scores files, and is neither a
    reward nor a score of captioning's evaluation. Lists of words are refused, unless `tokenize` is "none".

    Args:
        tokenize: sacrebleu's tokeniser, for instance "13a", "char" or "zh", or "none" for text that is split already.
        lowercase: compare without case.

    Raises:
        ValueError: for lists of words, whose case and punctuation nothing brings back; for an item without references, an empty
            reference or lists of different lengths.

    Source: Post 2018 (A call for clarity in reporting BLEU scores).
    """

    tokenize: str = "13a"
    lowercase: bool = False
    bound: ClassVar[float] = 100.0
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "sacreBLEU", {"tok": self.tokenize, "case": "lower" if self.lowercase else "mixed", "n": 4, "smooth": "exponential"}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis by itself, with effective order as sacrebleu advises for sentences, [N] float64."""
        checked_sentences(hypotheses, references)
        metric = self._metric(effective_order=True)
        scores = [
            metric.sentence_score(self._text(h), list(map(self._text, rs))).score for h, rs in zip(hypotheses, references, strict=True)
        ]
        return np.array(scores, np.float64)

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give sacrebleu's corpus score; hypotheses may have different numbers of references."""
        checked_sentences(hypotheses, references)
        require_some(len(hypotheses))
        most = max(map(len, references))
        streams = [[self._text(rs[k]) if k < len(rs) else None for rs in references] for k in range(most)]
        return float(self._metric(effective_order=False).corpus_score(list(map(self._text, hypotheses)), streams).score)

    def _metric(self, *, effective_order: bool):  # type: ignore[no-untyped-def]
        from sacrebleu.metrics.bleu import BLEU  # loaded here: it takes longer to import than all other metrics together

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=effective_order)

    def _text(self, sentence: Sentence) -> str:
        if isinstance(sentence, str):
            return sentence
        if self.tokenize != "none":
            raise ValueError(
                f"sacrebleu scores strings only, as they were written, got the words {list(sentence)[:5]}; give strings, or "
                'SacreBleu(tokenize="none") for words; captioning reports bleu4 and bleu4_smoothed'
            )
        return " ".join(sentence)
