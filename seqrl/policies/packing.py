"""The steps that count, one under the other: a pass over them costs nothing for padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def pack(x: Tensor, mask: Tensor) -> Tensor:
    """Take the entries that count, in row-major order: x[mask].

    Gradients flow back into an own buffer in one copy, where indexing would add them up entry by entry; they may be differentiated again.

    Args:
        x: [B, T, ...], any type.
        mask: [B, T] bool, True at M places.

    Returns:
        [M, ...]; `x` itself, laid end to end, where everything counts.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if x.shape[:2] != mask.shape or mask.ndim != 2:
        raise ValueError(f"x: expected [B, T, ...] to fit a mask [B, T] = {list(mask.shape)}, got {list(x.shape)}")
    places = counted_places(mask)
    if places.shape[0] == mask.numel():
        return x.flatten(0, 1)
    return _Pack.apply(x.flatten(0, 1), places).view(-1, *x.shape[2:])  # type: ignore[no-untyped-call]


def unpack(x: Tensor, mask: Tensor) -> Tensor:
    """Put packed entries back to their places, with zeros elsewhere; the opposite of `pack`.

    Args:
        x: [M, ...], any type.
        mask: [B, T] bool, True at M places.

    Returns:
        [B, T, ...].

    Raises:
        ValueError: when the mask does not count M places.
    """
    places = counted_places(mask)
    if x.shape[0] != places.shape[0]:
        raise ValueError(f"x: expected {places.shape[0]} entries, as many as the mask counts, got {list(x.shape)}; pack it with this mask")
    if places.shape[0] == mask.numel():
        return x.reshape(*mask.shape, *x.shape[1:])
    return _placed(x, places, mask.numel()).view(*mask.shape, *x.shape[1:])


def counted_places(mask: Tensor) -> Tensor:
    """Give the places [M] long, ascending, at which a mask [B, T] is True when its rows are laid end to end."""
    return mask.flatten().nonzero().squeeze(1)


class _Pack(Function):
    """Rows at distinct places, whose gradients need not be added up."""

    @staticmethod
    def forward(context: Any, x: Tensor, places: Tensor) -> Tensor:
        context.save_for_backward(places)
        context.size = x.shape[0]
        return x.index_select(0, places)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (places,) = context.saved_tensors
        return _placed(gradients[0], places, context.size), None


def _placed(x: Tensor, places: Tensor, size: int) -> Tensor:
    """Put rows to their places among so many, zeros elsewhere."""
    return torch.index_copy(x.new_zeros(size, *x.shape[1:]), 0, places, x)
