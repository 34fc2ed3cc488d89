"""Baselines: what a row's score is compared with before it weighs the row's log-probabilities.

A baseline that does not depend on the row's own actions leaves the policy gradient unbiased and lowers its variance.
Every function here is pure; scores are [B], one a row, and so are the advantages. Results carry no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def critic(returns: Tensor, value: Tensor) -> Tensor:
    """Compare each step's return with the critic's value: A_t = G_t - V_t.

    Args:
        returns: [B, T] float, from `seqrl.functional.returns`.
        value: [B, T+1] float, as a trajectory holds it; the last column is not read.

    Raises:
        ValueError: when the shapes do not fit.

    Source: Sutton & Barto 2018 (Reinforcement learning), eq. 13.11 with the value as baseline.
    """
    if returns.ndim != 2 or tuple(value.shape) != (returns.shape[0], returns.shape[1] + 1):
        raise ValueError(f"value: expected shape [B, T+1] for returns {list(returns.shape)}, got {list(value.shape)}")
    return (returns - value[:, :-1]).detach()


def greedy(score: Tensor, baseline: Tensor | None) -> Tensor:
    """Compare with the score of the greedy row of the same context: A = score - baseline.

    Args:
        score: [B] float.
        baseline: [B] float, the trajectory's `baseline`.

    Raises:
        ValueError: when there is no baseline, or it has another shape.

    Source: Rennie et al. 2017 (Self-critical sequence training for image captioning), the self-critical gradient.
    """
    if baseline is None:
        raise ValueError("baseline: expected the greedy scores [B], got None; collect the rollout with greedy_baseline=True")
    if score.shape != baseline.shape:
        raise ValueError(f"baseline: expected shape {list(score.shape)} like score, got {list(baseline.shape)}")
    return (score - baseline).detach()


@torch.no_grad()
def moving_average(score: Tensor, average: Tensor | None, decay: float, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Compare with the average score of earlier batches, and take this batch into it.

    A = score - b,  b' = decay b + (1 - decay) mean(score)

    The average of earlier batches does not depend on this batch's actions. The first batch has none and is compared with
    its own mean.

    Args:
        score: [N] float, of this process.
        average: [] float, b from the batch before; None for the first batch.
        decay: in 0..1, the share of the old average that is kept.
        mean: [] the mean of the batch, that of all processes together.

    Returns:
        ([N] advantages; [] the new average).

    Raises:
        ValueError: when the decay is out of range.

    Source: Williams 1992 (Simple statistical gradient-following algorithms), reinforcement comparison.
    """
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay: expected a number in 0..1, got {decay}")
    before = mean if average is None else average.to(score)
    return score - before, decay * before + (1.0 - decay) * mean


@torch.no_grad()
def leave_one_out(score: Tensor, group: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """Compare with the mean score of the other rows of the same context.

    A_i = score_i - mean_{j ≠ i} score_j, over the rows j of the same group that count

    Args:
        score: [B] float.
        group: [B] integer, rows with the same number share a context; one group when None.
        valid: [B] bool, rows that count; all when None.

    Returns:
        [B] advantages; 0 for rows that do not count.

    Raises:
        ValueError: when a shape is wrong, or a group has a single row that counts.

    Source: Kool et al. 2019 (Buy 4 REINFORCE samples, get a baseline for free!); Luo 2020 (A better variant of self-critical sequence
    training).
    """
    index, valid = check_rows(score, group, valid)
    return torch.where(valid, _above_others(score, index, valid, group), 0.0)


@torch.no_grad()
def leave_one_out_to_go(returns: Tensor, counted: Tensor, group: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """Compare each step's return to go with the mean return to go of the other rows of the same context at that time.

    A_{i,t} = G_{i,t} - mean_{j ≠ i} G_{j, min(t, last_j)}, over the rows j of the same group that count

    where last_j is the last step of row j that counts: a row that has ended takes part with what its last step earned. The baseline
    of a step depends on its time and on other rows alone, so the gradient stays unbiased. Where all of a row's reward comes at
    its end, undiscounted, this is `leave_one_out` of the scores at every step.

    Args:
        returns: [B, T] float, G, from `seqrl.functional.returns.discounted_return`.
        counted: [B, T] bool, the steps of each row, one episode a row.
        group: [B] integer, rows with the same number share a context; one group when None.
        valid: [B] bool, rows that count; all when None.

    Returns:
        [B, T] advantages; 0 for steps and rows that do not count.

    Raises:
        ValueError: when a shape is wrong, or a group has a single row that counts.

    Source: Kool et al. 2019 (Buy 4 REINFORCE samples, get a baseline for free!), with a baseline for each step; Greensmith et al. 2004
    (Variance reduction techniques for gradient estimates in reinforcement learning), baselines that depend on what is not the action.
    """
    if returns.ndim != 2 or counted.shape != returns.shape:
        raise ValueError(f"counted: expected shape [B, T] like returns {list(returns.shape)}, got {list(counted.shape)}")
    index, valid = check_rows(returns[:, 0], group, valid)
    time = torch.arange(returns.shape[1], device=returns.device).expand_as(returns)
    last = torch.where(counted, time, 0).amax(dim=1, keepdim=True)
    held = returns.gather(1, torch.minimum(time, last))
    above = _above_others(held, index, valid.unsqueeze(1).expand_as(held), group)
    return torch.where(counted & valid.unsqueeze(1), above, 0.0)


@torch.no_grad()
def group_mean(score: Tensor, group: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """Compare with the mean of the rows of the same context, the row itself included.

    A_i = score_i - mean, over the n rows of the same group that count; (n - 1) / n times `leave_one_out`

    Args:
        score: [B] float.
        group: [B] integer, rows with the same number share a context; one group when None.
        valid: [B] bool, rows that count; all when None.

    Returns:
        [B] advantages; 0 for rows that do not count.

    Raises:
        ValueError: when a shape is wrong, or a group has a single row that counts.

    Source: Liu et al. 2025 (Understanding R1-Zero-like training: a critical perspective), Dr. GRPO.
    """
    index, valid = check_rows(score, group, valid)
    mean, count = group_mean_of(score, index, valid)
    refuse_single_rows(count, group, "group_mean")
    return torch.where(valid, score - mean, 0.0)


@torch.no_grad()
def group_norm(score: Tensor, group: Tensor | None = None, valid: Tensor | None = None, epsilon: float = 1e-4) -> Tensor:
    """Compare with the mean of the rows of the same context and divide by their deviation.

    A_i = (score_i - mean) / (std + ε), both over the rows of the same group that count; the std is the population's

    Args:
        score: [B] float.
        group: [B] integer, rows with the same number share a context; one group when None.
        valid: [B] bool, rows that count; all when None.
        epsilon: ε, in the unit of the score; a group whose scores differ less than this is not blown up.

    Returns:
        [B] advantages; 0 for rows that do not count.

    Raises:
        ValueError: when a shape is wrong, or a group has a single row that counts.

    Source: Shao et al. 2024 (DeepSeekMath), GRPO with outcome supervision.
    Differs from: the paper has no ε, and does not say which standard deviation it takes.
    """
    index, valid = check_rows(score, group, valid)
    mean, count = group_mean_of(score, index, valid)
    refuse_single_rows(count, group, "group_norm")
    variance, _ = group_mean_of((score - mean).square(), index, valid)
    return torch.where(valid, (score - mean) / (variance.sqrt() + epsilon), 0.0)


def check_rows(score: Tensor, group: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compare shapes, number the groups from 0, and fill in the rows that count."""
    if score.ndim != 1:
        raise ValueError(f"score: expected shape [B], one a row, got {list(score.shape)}; sum the rewards over the steps first")
    if group is not None and group.shape != score.shape:
        raise ValueError(f"group: expected shape {list(score.shape)} like score, got {list(group.shape)}")
    if valid is not None and (valid.shape != score.shape or valid.dtype != torch.bool):
        raise ValueError(f"valid: expected a bool tensor of shape {list(score.shape)}, got {valid.dtype} {list(valid.shape)}")
    index = torch.zeros_like(score, dtype=torch.long) if group is None else torch.unique(group, return_inverse=True)[1]
    return index, torch.ones_like(score, dtype=torch.bool) if valid is None else valid


def _above_others(x: Tensor, index: Tensor, valid: Tensor, group: Tensor | None) -> Tensor:
    """How far each entry is above the mean of the other rows of its group that count; [B] or, for each column, [B, T], like x."""
    mean, count = group_mean_of(x, index, valid)
    refuse_single_rows(count.view(count.shape[0], -1)[:, 0], group, "leave_one_out")
    return (x - mean) * count / (count - 1).clamp(min=1)


def group_mean_of(x: Tensor, index: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each row's group that count, and how many they are; [B] or, for each column, [B, T], like x."""
    zeros = torch.zeros_like(x)
    total = zeros.index_add(0, index, torch.where(valid, x, 0.0))
    count = zeros.index_add(0, index, valid.to(x.dtype))
    return (total / count.clamp(min=1))[index], count[index]


def refuse_single_rows(count: Tensor, group: Tensor | None, method: str) -> None:
    """Refuse a group with a single row, which has nothing to be compared with."""
    lonely = count == 1
    if bool(lonely.any()):
        name = "the batch" if group is None else f"group {int(group[lonely][0])}"
        raise ValueError(f"{method}: expected at least 2 rows in each group, {name} has 1; num_samples must be >= 2")
