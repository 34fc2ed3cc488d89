"""Additive attention on regions, which the recurrent decoders share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def attend(energy: Callable[[Tensor], Tensor], query: Tensor, keys: Tensor, regions: Tensor, mask: Tensor | None) -> Tensor:
    """Give sum_i alpha_i v_i with alpha = softmax(e) over the regions that are there, e_i = w tanh(k_i + q).

    Args:
        energy: w, maps [B, R, D] to [B, R, 1].
        query: q [B, D].
        keys: k [B, R, D].
        regions: v [B, R, M].
        mask: [B, R] bool; None for all.

    Returns:
        [B, M] what is seen.

    Source: Bahdanau et al. 2015 (Neural machine translation by jointly learning to align and translate).
    """
    scores = energy((keys + query.unsqueeze(1)).tanh_()).squeeze(-1)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.bmm(scores.softmax(dim=1).unsqueeze(1), regions).squeeze(1)
