"""The only place where anything is averaged; call sites say over what."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

AverageOver = Literal["steps", "rows", "row_means"]


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum the entries that count: sum(x * mask), where a masked-out NaN adds nothing.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.
    """
    if x.shape != mask.shape:
        raise ValueError(f"mask: expected shape {list(x.shape)} like x, got {list(mask.shape)}")
    return x.masked_fill(~mask, 0.0).sum()


def masked_mean(x: Tensor, mask: Tensor | None, count: Tensor | float | None = None, *, over: AverageOver = "steps") -> Tensor:
    """Average the entries that count, over what is named. With x_it the entries of row i that count, L_i of them, and N rows that have any:

    steps      Σ_i Σ_t x_it / Σ_i L_i
    rows       Σ_i Σ_t x_it / N
    row_means  Σ_i (Σ_t x_it / L_i) / N

    The gradient of a sum over each row's steps is estimated without bias by "rows" alone. "steps" divides by a number that depends on
    the actions: it is a ratio estimator, whose bias falls with the number of rows. "row_means" gives the steps of short rows more weight.

    Args:
        x: any shape, float; [B, T] for "row_means".
        mask: same shape, bool, True where it counts; None for everywhere.
        count: what to divide by, not 0; `count_of(mask, over)` when None. Give the whole batch's count when `x` is a part of it, whole
            rows where the average is over rows, so that the parts' means add up to the whole's.
        over: what is averaged over.

    Returns:
        [] mean; 0 where nothing counts.

    Raises:
        ValueError: when the shapes differ or rows have no steps.

    Source: steps: Yu et al. 2025 (DAPO), token-level loss; rows: Williams 1992 (Simple statistical gradient-following algorithms),
    episodic REINFORCE, and, up to a constant, Liu et al. 2025 (Understanding R1-Zero-like training), Dr. GRPO; row_means: Shao et al.
    2024 (DeepSeekMath), GRPO.
    """
    if over == "row_means":
        if x.ndim != 2:
            raise ValueError(f"over: row_means expects x of shape [B, T], got {list(x.shape)}")
        length = torch.full_like(x[:, :1], x.shape[1]) if mask is None else mask.sum(dim=1, keepdim=True).clamp(min=1)
        x = x / length
    if mask is None:
        whole = x.numel() if over == "steps" else x.shape[0]
        return x.sum() / (max(1, whole) if count is None else count)
    return masked_sum(x, mask) / (count_of(mask, over).clamp(min=1) if count is None else count)


def count_of(mask: Tensor, over: AverageOver = "steps") -> Tensor:
    """Number [] of entries that count, or of rows that have any.

    Args:
        mask: bool, True where it counts; rows first.
        over: "steps" counts entries, "rows" and "row_means" count rows.
    """
    return mask.sum() if over == "steps" else mask.flatten(1).any(dim=1).sum()


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
