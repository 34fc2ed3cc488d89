"""What a visit is worth to one who wants to see what is new: bonuses of counts, and counts that a density implies."""

from __future__ import annotations

import torch
from torch import Tensor

FEW_VISITS = 0.01  # so that what was never seen has a bonus, too


def count_bonus(count: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Give 1 / √(N + c), to be multiplied by β.

    Args:
        count: N, visits, any shape.
        smoothing: c; 0 for counts that include the visit itself.

    Source: Strehl & Littman 2008 (An analysis of model-based interval estimation for Markov decision processes), MBIE-EB, eq. 5; with
    c = 0.01: Bellemare et al. 2016 (Unifying count-based exploration and intrinsic motivation), section 5.
    """
    return (count + smoothing).rsqrt()


def pseudo_count(logp: Tensor, logp_after: Tensor) -> Tensor:
    """Give the count N that a density model implies by how much likelier it finds x after seeing it once more.

    ρ = N / n and ρ' = (N + 1) / (n + 1) hold for N = ρ (1 - ρ') / (ρ' - ρ) = (1 - ρ') / (ρ'/ρ - 1)

    Args:
        logp: log ρ(x), nats, any shape; -inf for what the model rules out, whose count is 0.
        logp_after: log ρ'(x), of the model after one more visit of x; above `logp`, else the count is infinite.

    Raises:
        ValueError: when the shapes differ.

    Source: Bellemare et al. 2016 (Unifying count-based exploration and intrinsic motivation), eq. 2.
    """
    if logp.shape != logp_after.shape:
        raise ValueError(f"logp_after: expected shape {list(logp.shape)} like logp, got {list(logp_after.shape)}")
    return -torch.expm1(logp_after) / torch.expm1((logp_after - logp).clamp(min=0.0))
