"""Reference captions as the rows of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqrl.trajectory import Trajectory, Tree


def imitated_rows(tokens: Sequence[Sequence[int]], context: Tree, group: Tensor, *, begin: int, pad: int) -> Trajectory:
    """Lay captions out as rows to imitate.

    Args:
        tokens: B captions, each to its end.
        context: leaves [B, ...].
        group: [B] numbers of the images.
        begin: token before the first one.
        pad: token after the last one.
    """
    B, T = len(tokens), max(len(row) for row in tokens)
    lengths = torch.tensor([len(row) for row in tokens])
    imitate = torch.arange(T) < lengths.unsqueeze(1)
    action = torch.full((B, T), pad)
    action[imitate] = torch.tensor([token for row in tokens for token in row])
    nothing = torch.zeros(B, T, dtype=torch.bool)
    return Trajectory(
        action=action,
        logp=torch.zeros(B, T),
        value=torch.zeros(B, T + 1),
        reward=torch.zeros(B, T),
        terminated=torch.arange(T) == lengths.unsqueeze(1) - 1,
        truncated=nothing,
        mask=nothing,
        obs=torch.cat([torch.full((B, 1), begin), action], dim=1),
        context=context,
        group=group,
        imitate=imitate,
    )
