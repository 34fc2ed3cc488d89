"""Minimum-risk training: the expected score of the policy renormalised over its own candidates, as advantages of whole rows."""

from __future__ import annotations

import torch
from torch import Tensor

from seqrl.functional.advantages import check_rows, group_mean_of, refuse_single_rows
from seqrl.trajectory import Trajectory


@torch.no_grad()
def minimum_risk(
    logp: Tensor, score: Tensor, sharpness: float, group: Tensor | None = None, valid: Tensor | None = None, same: Tensor | None = None
) -> Tensor:
    """Weigh each candidate so that the policy gradient is that of the expected score over the candidates.

    q_k = p_k^a / sum_j p_j^a,  F = sum_k q_k score_k,  grad F = sum_k A_k grad log p_k / n,  A_k = n a q_k (score_k - F)

    over the n rows of a group that count. Equal rows are one candidate: they share its q and its advantage evenly.

    Args:
        logp: [B] float, log p of each whole row, nats.
        score: [B] float.
        sharpness: a, above 0; small values make all candidates count alike.
        group: [B] integer, rows with the same number share a context; one group when None.
        valid: [B] bool, rows that count; all when None.
        same: [B] integer, rows of a group with the same number are the same candidate; all differ when None.

    Returns:
        [B] advantages; 0 for rows that do not count. Averaged over rows they give the mean of grad F over groups of equal size.

    Raises:
        ValueError: when a shape is wrong, sharpness is not above 0, or a group has a single row that counts.

    Source: Shen et al. 2016 (Minimum risk training for neural machine translation), the risk over a subspace, whose alpha is a; Wen et
    al. 2016 (Multi-domain neural network language generation for spoken dialogue systems), discriminative training, whose gamma is a.
    Differs from: Shen et al. put the reference among the candidates.
    """
    if not sharpness > 0:
        raise ValueError(f"sharpness: expected a number above 0, got {sharpness}")
    index, valid = check_rows(score, group, valid)
    for name, other in (("logp", logp), ("same", same)):
        if other is not None and other.shape != score.shape:
            raise ValueError(f"{name}: expected shape {list(score.shape)} like score, got {list(other.shape)}")
    count = group_mean_of(score, index, valid)[1]
    refuse_single_rows(count, group, "minimum_risk")
    copies = torch.ones_like(score)
    if same is not None:
        alike = (index.unsqueeze(1) == index) & (same.unsqueeze(1) == same) & valid
        copies = alike.sum(dim=1).to(score.dtype).clamp(min=1)
    scaled = torch.where(valid, sharpness * logp.to(score.dtype) - copies.log(), float("-inf"))
    highest = torch.full_like(score, float("-inf")).scatter_reduce(0, index, scaled, "amax")[index]
    weight = torch.where(valid, (scaled - highest).exp(), 0.0)
    total = torch.zeros_like(score).index_add(0, index, weight)[index]
    share = weight / total.clamp(min=torch.finfo(score.dtype).tiny)
    expected = torch.zeros_like(score).index_add(0, index, torch.where(valid, share * score, 0.0))[index]
    return torch.where(valid, count * sharpness * share * (score - expected), 0.0)


def candidates(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """Give log p [B] of whole rows, and numbers [B] that are the same where rows took the same actions and scored the same.

    Args:
        trajectory: with the log-probabilities of the policy that sampled it; steps that it did not choose add nothing.
    """
    B, counted = trajectory.batch_size, trajectory.counted
    action = trajectory.action.reshape(B, counted.shape[1], -1).double()
    taken = torch.where(counted.unsqueeze(2), action, -1.0).flatten(1)
    same = torch.cat([taken, trajectory.score.double().unsqueeze(1)], dim=1).unique(dim=0, return_inverse=True)[1]
    return torch.where(trajectory.mask, trajectory.logp, 0.0).sum(dim=1), same
