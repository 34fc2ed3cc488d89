"""How a neural Turing machine finds its place in memory, and reads and writes there: pure functions of tensors, batch first.

Source: Graves et al. 2014 (Neural Turing machines), sections on reading, writing and addressing.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def by_content(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """Weigh locations by how alike they are to a key: w_i = softmax_i(β cos(k, M_i)), [B, N].

    Args:
        memory: M [B, N, W].
        key: k [B, W].
        strength: β [B, 1], positive.
    """
    return (strength * F.cosine_similarity(memory, key.unsqueeze(1), dim=2, eps=1e-6)).softmax(dim=1)


def interpolate(found: Tensor, before: Tensor, gate: Tensor) -> Tensor:
    """Choose between what was found and where the head was: g w_found + (1 - g) w_before, [B, N].

    Args:
        found: [B, N] weights by content.
        before: [B, N] weights of the step before.
        gate: g [B, 1], from 0 to 1.
    """
    return gate * found + (1 - gate) * before


def shift(weight: Tensor, moves: Tensor) -> Tensor:
    """Move a head along a ring of locations: w'_i = Σ_d w_{i-d} s_d for d of -1, 0, 1, [B, N].

    Args:
        weight: w [B, N].
        moves: s [B, 3], the shares that move by -1, 0 and 1, which sum to 1.
    """
    back, stay, on = moves.unbind(dim=1)
    return weight.roll(-1, 1) * back.unsqueeze(1) + weight * stay.unsqueeze(1) + weight.roll(1, 1) * on.unsqueeze(1)


def sharpen(weight: Tensor, power: Tensor) -> Tensor:
    """Undo the blur of a shift: w_i^γ / Σ_j w_j^γ, [B, N].

    Args:
        weight: w [B, N], 0 or more.
        power: γ [B, 1], at least 1.
    """
    # The derivative of 0^γ would not be finite.
    raised = weight.clamp(min=1e-8).pow(power)
    return raised / raised.sum(dim=1, keepdim=True)


def read(memory: Tensor, weight: Tensor) -> Tensor:
    """Read Σ_i w_i M_i, [B, W], from memory M [B, N, W] with weights w [B, N]."""
    return (weight.unsqueeze(1) @ memory).squeeze(1)


def write(memory: Tensor, weight: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """Erase, then add: M_i (1 - w_i e) + w_i a, [B, N, W].

    Args:
        memory: M [B, N, W].
        weight: w [B, N].
        erase: e [B, W], from 0 to 1.
        add: a [B, W].
    """
    share = weight.unsqueeze(2)
    return memory * (1 - share * erase.unsqueeze(1)) + share * add.unsqueeze(1)
