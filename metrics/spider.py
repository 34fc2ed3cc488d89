"""SPIDEr: the mean of CIDEr-D, which wants sentences that read like people's, and SPICE, which wants that they say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.cider import CiderD
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.item_texts import mean
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import WordNumbers, number_references, pad_rows, split_words
from seqrl.metrics.spice import PreparedSpice, Spice
from seqrl.metrics.token_scores import PreparedMetric, Sentence


class PreparedSpider:
    """References counted for CIDEr-D and kept for SPICE; call `score` on every batch."""

    def __init__(self, cider_d: PreparedMetric, numbers: dict[str, int], spice: PreparedSpice) -> None:
        self._cider_d, self._numbers, self._spice = cider_d, numbers, spice

    def score(self, hypotheses: Sequence[Sentence], items: Sequence[int]) -> NDArray[np.float64]:
        """Score captions, each against the references of its item, [N] float64.

        Raises:
            ValueError: for different counts, or an item that is not there.
        """
        spice = self._spice.score(hypotheses, items)
        rows = pad_rows([self._numbered(split_words(sentence)) for sentence in hypotheses], items)
        return 0.5 * self._cider_d.score(rows.tokens, rows.lengths, rows.items) + 0.5 * spice

    def _numbered(self, words: list[str]) -> list[int]:
        # Words that no reference has get numbers for this caption alone, so that captions without end take no memory.
        new = {word: len(self._numbers) + place for place, word in enumerate(words) if word not in self._numbers}
        return [new[word] if word in new else self._numbers[word] for word in words]


@dataclass(frozen=True)
class Spider:
    """SPIDEr, the mean of CIDEr-D and SPICE: score = 0.5 CIDEr-D + 0.5 SPICE, range 0 to 5.5.

    Args:
        document_frequency: frequencies of a corpus of words for CIDEr-D; None takes those of the references at hand.
        spice: settings of SPICE.

    Raises:
        ValueError: what `CiderD` and `Spice` refuse.

    Source: Liu et al. 2017 (Improved image captioning via policy gradient optimization of SPIDEr).
    """

    document_frequency: DocumentFrequency | None = None
    spice: Spice = Spice()
    bound: ClassVar[float] = 5.5
    higher_is_better: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "SPIDEr", {**CiderD().described[1], **self.spice.described[1]}

    def score(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        return 0.5 * CiderD(document_frequency=self.document_frequency).score(hypotheses, references) + 0.5 * self.spice.score(
            hypotheses, references
        )

    def corpus(self, hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> float:
        """Give the published score: the mean of the scores."""
        return mean(self.score(hypotheses, references))

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedSpider:
        """Take references once; the result scores captions against them."""
        frequency = self.document_frequency
        words = (frequency.words or ()) if frequency is not None else ()
        numbers = WordNumbers({word: number for number, word in enumerate(words)})
        index = ReferenceIndex(number_references(references, numbers), document_frequency=frequency, word_numbers=True)
        return PreparedSpider(CiderD().prepare(index), dict(numbers), self.spice.prepare_words(references))
