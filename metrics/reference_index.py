"""References of token ids counted once, so that many batches of hypotheses are scored against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqrl.metrics import kernels
from seqrl.metrics.document_frequency import DocumentFrequency, inverse_document_frequency, require_several_items
from seqrl.metrics.ngram_table import NgramTable
from seqrl.metrics.rows import HypothesisRows, pack_references


class Weighed(NamedTuple):
    """What CIDEr weighs n-grams with.

    Args:
        slots: [slots, 2] numbers of n-grams by their keys, see `NgramTable`.
        document_frequency: [slots] by an n-gram's number.
        weights: [num_images + 1] by document frequency, nats.
        norms: [rows, max_n] lengths of the references' tf-idf vectors.
    """

    slots: NDArray[np.int64]
    document_frequency: NDArray[np.int32]
    weights: NDArray[np.float64]
    norms: NDArray[np.float64]


class ReferenceIndex:
    """Every item's distinct n-grams with their count in each reference.

    Args:
        references: for each item its references, each a row of token ids without begin, end or padding.
        max_n: longest n-gram, in tokens.
        end: id of the end token; a hypothesis row is read up to its first one.
        score_end: the end token counts as a word: it is appended to every reference and kept in hypotheses that have it.
        document_frequency: weights for CIDEr; None counts them over these references, as the official evaluation does.
        tokenisation: name or fingerprint of what made the ids; compared with that of `document_frequency`.
        word_numbers: the ids are the numbers of words in `document_frequency`, not those of a vocabulary.

    Raises:
        ValueError: for an item without references, an empty reference, or frequencies that were made differently.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Sequence[int]]],
        *,
        max_n: int = 4,
        end: int | None = None,
        score_end: bool = False,
        document_frequency: DocumentFrequency | None = None,
        tokenisation: str | None = None,
        word_numbers: bool = False,
    ) -> None:
        if max_n < 1:
            raise ValueError(f"max_n must be at least 1, got {max_n}")
        self.rows = pack_references(references, end=end, score_end=score_end)
        self.num_items = self.rows.num_items
        self.max_n, self.end, self.score_end, self.tokenisation = max_n, end, score_end, tokenisation
        self.end_id = -1 if end is None else end  # which no token has
        self._given = document_frequency
        self.table = NgramTable()
        if document_frequency is not None:
            document_frequency.require(max_n=max_n, tokenisation=tokenisation, score_end=score_end, words=word_numbers, end=end)
            self.table = NgramTable.from_keys(document_frequency.keys, document_frequency.counts)
        self.counted = self.table.count(self.rows, max_n, new=document_frequency is None)
        self._weighed: Weighed | None = None

    def document_frequency(self) -> DocumentFrequency:
        """Give the frequencies that weigh these n-grams: the ones given, or else those counted over the references at hand.

        Raises:
            ValueError: for frequencies over fewer than two items.
        """
        if self._given is not None:
            return self._given
        require_several_items(self.num_items)
        keys, counts = self.table.frequent()
        return DocumentFrequency(keys, counts, self.num_items, self.max_n, self.tokenisation or "ids", self.score_end, None, self.end)

    def prepare_cider(self) -> Weighed:
        """Give what CIDEr weighs n-grams with, computed once."""
        if self._weighed is None:
            if self._given is None:
                require_several_items(self.num_items)
            weights = inverse_document_frequency(self.num_items if self._given is None else self._given.num_images)
            norms = np.zeros((len(self.rows.row_starts) - 1, self.max_n), np.float64)
            kernels.row_norms(self.rows.item_rows, self.max_n, self.table.document_frequency, weights, self.counted, norms)
            self._weighed = Weighed(self.table.slots, self.table.document_frequency, weights, norms)
        return self._weighed

    def check(self, tokens: ArrayLike, lengths: ArrayLike, items: ArrayLike) -> HypothesisRows:
        """Give hypotheses as the int64 arrays that the compiled loops read.

        Raises:
            ValueError: for shapes that do not fit, negative token ids, or items that the index does not have.
        """
        rows = HypothesisRows(*(np.ascontiguousarray(each, np.int64) for each in (tokens, lengths, items)))
        if rows.tokens.ndim != 2 or rows.lengths.shape != rows.tokens.shape[:1] or rows.items.shape != rows.tokens.shape[:1]:
            raise ValueError(
                f"expected tokens [N, T], lengths [N], items [N]; got {rows.tokens.shape}, {rows.lengths.shape}, {rows.items.shape}"
            )
        # read as unsigned, a negative number is a very large one
        if len(rows.items) and rows.items.view(np.uint64).max() >= self.num_items:
            raise ValueError(f"items must lie in 0..{self.num_items - 1}; got {rows.items.min()}..{rows.items.max()}")
        if rows.tokens.size and rows.tokens.view(np.uint64).max() >= 2**31:
            raise ValueError(f"token ids must lie in 0..{2**31 - 1}; got {rows.tokens.min()}..{rows.tokens.max()}")
        return rows
