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
    return torch.where(mask, x, 0.0).sum()


def masked_mean(x: Tensor, mask: Tensor, count: Tensor | float | None = None) -> Tensor:
    """Average the entries that count: sum(x * mask) / count.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.
        count: what to divide by; the number of True entries of `mask` when None. Give the whole batch's count when
            `x` is a part of it, so that the parts' means add up to the whole's.

    Returns:
        [] mean; 0 where nothing counts.
    """
    total = masked_sum(x, mask)
    divisor = mask.sum() if count is None else torch.as_tensor(count, device=x.device)
    return total / divisor.clamp(min=1)


def masked_std(x: Tensor, mask: Tensor) -> Tensor:
    """Population standard deviation of the entries that count: sqrt(mean((x - mean(x))^2))."""
    centred = x - masked_mean(x, mask)
    return masked_mean(centred.square(), mask).sqrt()


def masked_whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True, epsilon: float = 1e-8) -> Tensor:
    """Scale the entries that count to unit deviation: (x - mean) / (std + epsilon).

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts; other entries become 0.
        shift_mean: subtract the mean; otherwise keep it.
        epsilon: added to the deviation.
    """
    mean = masked_mean(x, mask)
    whitened = (x - mean) / (masked_std(x, mask) + epsilon)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)
