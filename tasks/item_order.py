"""Which items come next: every item once an epoch, in an order that a seed and the epoch's number decide."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.distributed import SEED_STRIDE


class ItemOrder:
    """Goes through the items 0..N-1 in a new random order each epoch.

    Args:
        num_items: N.
        seed: with the epoch's number it decides the order, so that two numbers are all that a checkpoint needs.

    Raises:
        ValueError: when there is no item.
    """

    def __init__(self, num_items: int, *, seed: int) -> None:
        if num_items < 1:
            raise ValueError("expected at least one item to go through, got none")
        self.num_items = num_items
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._order = self._shuffled()

    def next(self, count: int) -> Tensor:
        """Give the next `count` items [count]; never the same item twice in one call.

        A batch that would reach past the end of the epoch starts the next one, so that the epoch's last few items wait.
        """
        count = min(count, self.num_items)
        if self.position + count > self.num_items:
            self.epoch += 1
            self.position = 0
            self._order = self._shuffled()
        items = self._order[self.position : self.position + count]
        self.position += count
        return items

    def _shuffled(self) -> Tensor:
        # Far apart seeds for near numbers, so that the epochs of two seeds do not overlap.
        generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + self.epoch)
        return torch.randperm(self.num_items, generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Give the position."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved position."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled()
