"""Rows of different lengths for decoders that read step by step: a step costs only the rows that have not ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class LiveRows:
    """The longest row first, so that the rows which have not ended are the first ones of every step.

    Args:
        mask: [B, T] bool, the steps whose features are wanted; what a row holds behind the last of them is not read. None for all.
        shape: (B, T).
        device: where the rows are.

    Attributes:
        order: [B] long, the row in each place.
    """

    def __init__(self, mask: Tensor | None, shape: Sequence[int], device: torch.device) -> None:
        B, T = shape
        self.mask = torch.ones(B, T, dtype=torch.bool, device=device) if mask is None else mask
        self.packed = mask is not None
        lengths = (self.mask * torch.arange(1, T + 1, device=device)).amax(dim=1) if T else torch.zeros(B, dtype=torch.long, device=device)
        lengths, self.order = lengths.sort(descending=True, stable=True)
        self._live = (lengths.unsqueeze(0) > torch.arange(T, device=device).unsqueeze(1)).sum(dim=1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give each step and how many rows live in it, as long as any does."""
        return ((step, live) for step, live in enumerate(self._live.tolist()) if live)

    def gather(self, features: Sequence[Tensor]) -> Tensor:
        """Put the steps' features [live, D] into the order of the rows: [M, D] of the wanted steps, or [B, T, D] without a mask."""
        B, T = self.mask.shape
        starts = self._live.cumsum(0) - self._live
        place = torch.empty_like(self.mask, dtype=torch.long)
        place[self.order] = starts + torch.arange(B, device=place.device).unsqueeze(1)
        found = torch.cat(list(features)).index_select(0, place[self.mask])
        return found if self.packed else found.view(B, T, -1)
