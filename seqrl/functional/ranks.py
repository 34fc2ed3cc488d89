"""Ranks of scores, which outliers do not move."""

from __future__ import annotations

from torch import Tensor


def centred_ranks(score: Tensor) -> Tensor:
    """Give u_i = r_i / (n - 1) - 1/2 with the rank r_i in 0..n-1 of each score, ascending; equal scores share their mean rank.

    Args:
        score: [n], n >= 2.

    Returns:
        [n] in -1/2..1/2, sum 0.

    Source: Wierstra et al. 2014 (Natural evolution strategies), fitness shaping; in this form Salimans et al. 2017 (Evolution
    strategies as a scalable alternative to reinforcement learning).
    """
    below = (score.unsqueeze(0) < score.unsqueeze(1)).sum(dim=1)
    equal = (score.unsqueeze(0) == score.unsqueeze(1)).sum(dim=1)
    return (below + (equal - 1) / 2) / (score.shape[0] - 1) - 0.5
