"""A table that gives each distinct n-gram of token ids a number, for any vocabulary and any n."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import kernels
from seqrl.metrics.rows import ReferenceRows

_LARGEST_LOAD = 0.5
_ITEMS_A_CHUNK = 1024
# Every n-gram of an item has a count for each of its references; 8 GiB of counts for one item are too many.
_MOST_COUNTS = 2**32


class Counted(NamedTuple):
    """Each item's n-grams, where those of an item and a length begin, their counts in each reference, and where an item's begin."""

    entries: NDArray[np.int32]
    entry_starts: NDArray[np.int64]
    counts: NDArray[np.uint16]
    count_starts: NDArray[np.int64]


def _empty(num_slots: int) -> NDArray[np.int64]:
    return np.full((num_slots, 2), -1, np.int64)


@dataclass
class NgramTable:
    """An open-addressing hash from the key of an n-gram to its number; see `seqrl.metrics.kernels` for the key.

    Args:
        slots: [slots, 2] int64 key and number side by side, so that both come with one access to memory; -1 in an empty
            slot. The number of slots is a power of two.
        document_frequency: [slots] int32; at an n-gram's number, the count of items whose references hold it.
        size: how many n-grams are in the table; their numbers are 0 to size - 1.
    """

    slots: NDArray[np.int64] = field(default_factory=lambda: _empty(1024))
    document_frequency: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1024, np.int32))
    size: int = 0

    def reserve(self, num_more: int) -> None:
        """Make room for `num_more` further n-grams, and for no more than that."""
        num_slots = 1024
        while self.size + num_more > _LARGEST_LOAD * num_slots:
            num_slots *= 2
        if num_slots == len(self.slots):
            return
        slots = _empty(num_slots)
        kernels.rehash(self.slots[:, 0], self.slots[:, 1], slots)
        self.slots = slots
        frequency = np.zeros(num_slots, np.int32)
        frequency[: self.size] = self.document_frequency[: self.size]
        self.document_frequency = frequency

    def keys(self) -> NDArray[np.int64]:
        """Give the keys in the order of their numbers, [size] int64."""
        filled = self.slots[self.slots[:, 0] >= 0]
        keys = np.empty(self.size, np.int64)
        keys[filled[:, 1]] = filled[:, 0]
        return keys

    @classmethod
    def from_keys(cls, keys: NDArray[np.int64], document_frequency: NDArray[np.int32]) -> NgramTable:
        """Rebuild a table from `keys()` and the frequencies in the same order."""
        table = cls()
        table.reserve(len(keys))
        pairs = np.stack([keys, np.arange(len(keys))], axis=1)
        kernels.rehash(pairs[:, 0], pairs[:, 1], table.slots)
        table.document_frequency[: len(keys)] = document_frequency
        table.size = len(keys)
        return table

    def count(self, rows: ReferenceRows, max_n: int, *, new: bool) -> Counted:
        """Number the n-grams of references and count them in each.

        Args:
            rows: references of items.
            max_n: longest n-gram, in tokens.
            new: count the document frequencies, too.

        Raises:
            ValueError: when there is more than can be counted.
        """
        row_lengths = np.diff(rows.row_starts)
        if len(row_lengths) and row_lengths.max() > np.iinfo(np.uint16).max:
            raise ValueError(f"a reference has {row_lengths.max()} tokens; at most {np.iinfo(np.uint16).max} can be counted")
        rows_per_item = np.diff(rows.item_rows)
        if len(rows_per_item) and rows_per_item.max() >= 1 << kernels.ROW_BITS:
            raise ValueError(f"an item has {rows_per_item.max()} references; at most {(1 << kernels.ROW_BITS) - 1} can be counted")
        item_tokens = rows.row_starts[rows.item_rows]
        tokens_per_item = np.diff(item_tokens)
        needed = tokens_per_item * rows_per_item * max_n
        if len(needed) and needed.max() > _MOST_COUNTS:
            item = int(np.argmax(needed))
            raise ValueError(
                f"item {item} has {rows_per_item[item]} references with {tokens_per_item[item]} words together, whose n-grams need up to "
                f"{2 * needed[item] / 2**30:.0f} GiB; at most {2 * _MOST_COUNTS / 2**30:.0f} GiB are taken, so give it fewer references"
            )
        # upper bounds: memory that is never written is never taken
        counted = Counted(
            entries=np.empty(int(item_tokens[-1]) * max_n, np.int32),
            entry_starts=np.zeros(rows.num_items * max_n + 1, np.int64),
            counts=np.empty(int(needed.sum()), np.uint16),
            count_starts=np.zeros(rows.num_items + 1, np.int64),
        )
        most_tokens = int(tokens_per_item.max(initial=0))
        gram, pairs = np.empty(most_tokens, np.int64), np.empty(most_tokens, np.int64)
        for first in range(0, rows.num_items, _ITEMS_A_CHUNK):
            last = min(first + _ITEMS_A_CHUNK, rows.num_items)
            self.reserve(int(item_tokens[last] - item_tokens[first]) * max_n)
            self.size = kernels.add_items(
                rows, first, last, max_n, self.slots, self.size, self.document_frequency, new, gram, pairs, counted
            )
        self.reserve(0)  # most n-grams were met before: a table that fits the cache is read faster
        return counted

    def frequent(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Give keys and document frequencies of the n-grams of two or more items, numbered anew.

        Numbers are given prefix first, and an n-gram's prefix is at least as frequent as itself.
        """
        keys, counts = self.keys(), self.document_frequency[: self.size]
        kept = counts >= 2
        number = np.cumsum(kept) - 1
        keys, counts = keys[kept], counts[kept]
        parent = keys >> 32
        parent = np.where(parent > 0, number[parent - 1] + 1, 0)
        return (parent << 32) | (keys & 0xFFFFFFFF), counts.astype(np.int32)
