"""CIDEr-D, CIDEr-R and CIDEr: how much a caption agrees with what people write about an image, n-grams weighed by how telling they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import kernels
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.item_texts import mean_of_scores
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows
from seqrl.metrics.token_scores import prepare_rows, score_sentences

_NO_PENALTY = 0.0  # the compiled loop takes a sigma of zero for plain CIDEr
_NOT_ROBUST = np.empty(0)


@dataclass(frozen=True)
class CiderD:
    """CIDEr-D as coco-caption computes it (there under the name of CIDEr).

    score = 10/n sum_n 1/m sum_j exp(-(l - l_j)^2 / (2 sigma^2)) min(g_n(c), g_n(s_j)) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|)
    with g_n the tf-idf vector of the n-grams, l the length and m the number of references s_j. Its range is 0 to 10.

    Args:
        max_n: longest n-gram, in words.
        sigma: deviation of the length penalty, in words.
        document_frequency: frequencies of a corpus; None takes those of the references at hand, as the official code does.
        score_end: the end of the sentence counts as a word, which costs captions that break off; the published scores
            are without.
        tokenisation: what turned captions into words or ids; refused where `document_frequency` names another.

    Raises:
        ValueError: for frequencies over fewer than two images or made differently, and for missing or empty references.

    Source: Vedantam et al. 2015 (CIDEr), CIDEr-D.
    Differs from: the paper, as the official code does, in taking the number of bigrams for the length.
    """

    max_n: int = 4
    sigma: float = 6.0
    document_frequency: DocumentFrequency | None = None
    score_end: bool = False
    tokenisation: str | None = None
    bound: ClassVar[float] = 10.0

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "CIDEr-D", {"n": self.max_n, "sigma": self.sigma, "clip": True}

    score = score_sentences
    corpus = mean_of_scores
    prepare = prepare_rows

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        return _score_rows(index, rows, self.max_n, self.sigma)


@dataclass(frozen=True)
class Cider:
    """Plain CIDEr: neither clipping nor a length penalty, so that repeating a telling word raises it; not for use as a reward.

    score = 10/n sum_n 1/m sum_j g_n(c) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|)

    Args and errors: as `CiderD`, without sigma.

    Source: Vedantam et al. 2015 (CIDEr).
    Differs from: the paper in the factor 10, which the official code has for CIDEr-D.
    """

    max_n: int = 4
    document_frequency: DocumentFrequency | None = None
    score_end: bool = False
    tokenisation: str | None = None
    bound: ClassVar[float] = 10.0

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "CIDEr", {"n": self.max_n, "clip": False}

    score = score_sentences
    corpus = mean_of_scores
    prepare = prepare_rows

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        return _score_rows(index, rows, self.max_n, _NO_PENALTY)


@dataclass(frozen=True)
class CiderR:
    """CIDEr-R: CIDEr-D for sentences whose lengths differ much, with penalties on relative length and on repeated words.

    score = 10/n sum_n 1/m sum_j r_j^a exp(-(l - l_j)^2 / (alpha l_j^2))^b min(g_n(c), g_n(s_j)) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|)
    r_j = (prod_w 1 / (1 + d_w))^(1/W),  d_w = |count_w(c) - count_w(s_j)|, or count_w(c) - 1 where s_j lacks w

    over the W different words of c; the rest as in `CiderD`.

    Args:
        max_n: longest n-gram, in words.
        repetition_weight: a.
        length_weight: b.
        alpha: the larger, the less a length costs.
        document_frequency, score_end, tokenisation: as in `CiderD`.

    Raises:
        ValueError: as `CiderD`, and for an alpha that is not above 0.

    Source: Oliveira dos Santos et al. 2021 (CIDEr-R: robust consensus-based image description evaluation).
    Differs from: the authors' code, which divides by the number of bigrams of the reference where the paper has its words, and counts
    the repetitions of runs of letters, where here each token is a word.
    """

    max_n: int = 4
    repetition_weight: float = 0.8
    length_weight: float = 0.2
    alpha: float = 1.0
    document_frequency: DocumentFrequency | None = None
    score_end: bool = False
    tokenisation: str | None = None
    bound: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha: expected a number above 0, got {self.alpha}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        weights = {"repetition": self.repetition_weight, "length": self.length_weight, "relative": self.alpha}
        return "CIDEr-R", {"n": self.max_n, **weights, "clip": True}

    score = score_sentences
    corpus = mean_of_scores
    prepare = prepare_rows

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        robust = np.array([self.repetition_weight, self.length_weight, self.alpha])
        return _score_rows(index, rows, self.max_n, _NO_PENALTY, robust)


def _score_rows(
    index: ReferenceIndex, rows: HypothesisRows, max_n: int, sigma: float, robust: NDArray[np.float64] = _NOT_ROBUST
) -> NDArray[np.float64]:
    weighed, counted = tuple(index.prepare_cider()), tuple(index.counted)  # numba takes longer to look at named ones
    scores, (_, row_starts, item_rows) = np.empty(len(rows.items), np.float64), index.rows
    settings = (index.end_id, index.score_end, max_n, sigma, robust)
    kernels.cider_scores(*rows, *settings, row_starts, item_rows, index.max_n, counted, weighed, scores)
    return scores
