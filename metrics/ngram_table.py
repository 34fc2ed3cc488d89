"""A table that gives each distinct n-gram of token ids a number, for any vocabulary and any n."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import kernels

_LARGEST_LOAD = 0.6


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
        """Make room for `num_more` further n-grams."""
        num_slots = len(self.slots)
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

    def copy(self) -> NgramTable:
        """Give a table of its own with the same content."""
        return NgramTable(self.slots.copy(), self.document_frequency.copy(), self.size)
