"""The only place where anything is averaged; call sites say over what."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum the entries that count: sum(x * mask), where a masked-out NaN adds nothing.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.
    """
    if x.shape != mask.shape:
        raise ValueError(f"mask: expected shape {list(x.shape)} like x, got {list(mask.shape)}")
    return x.masked_fill(~mask, 0.0).sum()


def masked_mean(x: Tensor, mask: Tensor | None, count: Tensor | float | None = None) -> Tensor:
    """Average the entries that count: sum(x * mask) / count.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts; None for everywhere.
        count: what to divide by, not 0; the number of True entries of `mask` when None. Give the whole batch's count when
            `x` is a part of it, so that the parts' means add up to the whole's.

    Returns:
        [] mean; 0 where nothing counts.
    """
    if mask is None:
        return x.sum() / (max(1, x.numel()) if count is None else count)
    return masked_sum(x, mask) / (mask.sum().clamp(min=1) if count is None else count)


def masked_std(x: Tensor, mask: Tensor) -> Tensor:
    """Population standard deviation of the entries that count: sqrt(mean((x - mean(x))^2)); 0 where nothing counts."""
    return masked_moments(x, mask)[1]


def masked_moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [] and population standard deviation [] of the entries that count; 0 where nothing does.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.
    """
    if x.shape != mask.shape:
        raise ValueError(f"mask: expected shape {list(x.shape)} like x, got {list(mask.shape)}")
    counted = x[mask]
    if not counted.numel():
        return x.new_zeros(()), x.new_zeros(())
    deviation, mean = torch.std_mean(counted, correction=0)
    return mean, deviation


def masked_whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True, epsilon: float = 1e-8) -> Tensor:
    """Scale the entries that count to unit deviation: (x - mean) / (std + epsilon).

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts; other entries become 0.
        shift_mean: subtract the mean; otherwise keep it.
        epsilon: added to the deviation.
    """
    mean, deviation = masked_moments(x, mask)
    whitened = (x - mean) / (deviation + epsilon)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)
