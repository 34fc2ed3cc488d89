"""Self-CIDEr: how different the several captions are that a captioner writes about one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.cider import Cider
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.item_texts import mean_of_scores
from seqrl.metrics.rows import require_list, split_words
from seqrl.metrics.text_scores import References, Sentence, checked_references

_CIDER_FACTOR = 10.0


@dataclass(frozen=True)
class SelfCider:
    """Self-CIDEr of the captions of each image, range 0 (all are one) to 1 (no two share a telling n-gram).

    score = -log_m(sqrt(l_1) / sum_i sqrt(l_i)), with l_1 >= ... >= l_m the eigenvalues of the matrix of m captions' CIDErs with each
    other, each from 0 to 1.

    A hypothesis is a list of at least two captions. To find one caption where several are expected, captions of one image each are taken
    as text only: `reads_raw_text` keeps callers from giving the words of one caption, which would look like captions of one word.

    Args:
        max_n: longest n-gram, in words.
        document_frequency: frequencies of a corpus; None takes those of the references at hand.

    Raises:
        ValueError: for fewer than two captions about an image, without references and document frequencies, or what `Cider` refuses.

    Source: Wang & Chan 2019 (Describing like humans: on diversity in image captioning), self-CIDEr.
    """

    max_n: int = 4
    document_frequency: DocumentFrequency | None = None
    bound: ClassVar[float] = 1.0
    scores_corpus_only: ClassVar[bool] = True
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "self-CIDEr", {"n": self.max_n}

    def score(self, hypotheses: References, references: References | None = None) -> NDArray[np.float64]:
        """Score the captions of each image.

        Args:
            hypotheses: for each image its captions, two or more: tokenised strings or lists of words.
            references: for each image its references, for the document frequencies.

        Returns:
            [images] float64.
        """
        require_list(hypotheses, "the hypotheses", "lists of captions")
        captions = [_captions_of(item, number) for number, item in enumerate(hypotheses)]
        frequency = self._frequency(len(captions), references)
        return np.array([_diversity(kernel) for kernel in _kernels(captions, self.max_n, frequency)], np.float64)

    corpus = mean_of_scores

    def _frequency(self, num_images: int, references: References | None) -> DocumentFrequency:
        if references is not None:
            checked_references(references, num_images=num_images)
        if self.document_frequency is not None:
            return self.document_frequency
        if references is None:
            raise ValueError("self_cider weighs n-grams by document frequency: give references, or document_frequency=")
        return DocumentFrequency.from_references(references, max_n=self.max_n)


def _captions_of(item: Sequence[Sentence], number: int) -> list[list[str]]:
    if not isinstance(item, str):
        require_list(item, f"the captions of item {number}")
    if isinstance(item, str) or len(item) < 2:
        got = "one" if isinstance(item, str) else f"{len(item)} for item {number}"
        raise ValueError(f"expected several captions of each image, got {got}: call SelfCider().score(lists of captions, references)")
    return [split_words(caption) for caption in item]


def _kernels(captions: Sequence[Sequence[list[str]]], max_n: int, frequency: DocumentFrequency) -> list[NDArray[np.float64]]:
    """Give each image's matrix of CIDErs; an empty caption has nothing in common with any, not even with itself."""
    places = [[place for place, words in enumerate(item) if words] for item in captions]
    pairs = [(item, one, other) for item, kept in enumerate(places) for one in kept for other in kept if one <= other]
    metric = Cider(max_n=max_n, document_frequency=frequency, tokenisation=frequency.tokenisation, score_end=frequency.score_end)
    values = metric.score([captions[item][one] for item, one, _ in pairs], [[captions[item][other]] for item, _, other in pairs])
    kernels = [np.zeros((len(item), len(item))) for item in captions]
    for (item, one, other), value in zip(pairs, values / _CIDER_FACTOR, strict=True):
        kernels[item][one, other] = kernels[item][other, one] = value
    return kernels


def _diversity(kernel: NDArray[np.float64]) -> float:
    values = np.linalg.eigvalsh(kernel)
    # what rounding leaves of an eigenvalue of 0 would count a million times as much under the root
    roots = np.sqrt(np.where(values > len(kernel) * np.finfo(np.float64).eps * values.max(), values, 0.0))
    total = roots.sum()
    return float(np.clip(np.log(total / roots.max()) / np.log(len(kernel)), 0.0, 1.0)) if total > 0 else 0.0
