"""What a trajectory and an update look like, in plain numbers; each key is explained in docs/metrics.md."""

from __future__ import annotations

import torch
from torch import Tensor

from seqrl.reduce import masked_mean, masked_std
from seqrl.trajectory import Evaluation, Trajectory


@torch.no_grad()
def describe_rollout(trajectory: Trajectory) -> dict[str, float]:
    """Describe what was sampled: rewards, lengths, how rows ended, how different the rows of a group are.

    Args:
        trajectory: rows without any step that counts (demonstrations) are left out.

    Returns:
        Keys under `reward/` and `rollout/`.
    """
    rows = trajectory.mask.any(dim=1)
    if not bool(rows.any()):
        return {}
    part = trajectory.select_rows(rows)
    score, length = part.score, part.mask.sum(dim=1).float()
    everything = torch.ones_like(score, dtype=torch.bool)
    stats = {
        "reward/mean": float(masked_mean(score, everything)),
        "reward/std": float(masked_std(score, everything)),
        "reward/max": float(score.max()),
        "reward/min": float(score.min()),
        "rollout/length": float(masked_mean(length, everything)),
        "rollout/ended": float(masked_mean(part.terminated.any(dim=1).float(), everything)),
        "rollout/num_rows": float(part.batch_size),
        "rollout/num_steps": float(length.sum()),
    }
    if part.baseline is not None:
        stats["reward/baseline"] = float(masked_mean(part.baseline, everything))
    if part.group is not None and not part.action.is_floating_point():
        stats["rollout/unique"] = _unique_share(part)
    return stats


def _unique_share(trajectory: Trajectory) -> float:
    """Share of rows that differ from every earlier row of their group."""
    assert trajectory.group is not None
    chosen = trajectory.action.flatten(2) if trajectory.action.ndim > 2 else trajectory.action.unsqueeze(2)
    chosen = torch.where(trajectory.mask.unsqueeze(2), chosen, -1).flatten(1)
    keyed = torch.cat([trajectory.group.unsqueeze(1), chosen], dim=1)
    return torch.unique(keyed, dim=0).shape[0] / trajectory.batch_size


@torch.no_grad()
def describe_advantage(advantage: Tensor, mask: Tensor) -> dict[str, float]:
    """Describe the advantages that the update used.

    Args:
        advantage: [B, T].
        mask: [B, T] bool.
    """
    positive = (advantage > 0).float()
    return {
        "advantage/mean": float(masked_mean(advantage, mask)),
        "advantage/std": float(masked_std(advantage, mask)),
        "advantage/positive": float(masked_mean(positive, mask)),
    }


@torch.no_grad()
def describe_update(trajectory: Trajectory, evaluation: Evaluation, count: Tensor) -> dict[str, float]:
    """Describe the evaluated policy: entropy and KL(sampling || current).

    The KL estimate is mean(exp(d) - 1 - d) with d = logp - sampling logp (k3 of Schulman 2020), over the steps that the
    policy chose.

    Args:
        trajectory: B rows.
        evaluation: of these rows.
        count: [] what to divide by: the number of steps, chosen or demonstrated, of the whole batch.
    """
    imitate = torch.zeros_like(trajectory.mask) if trajectory.imitate is None else trajectory.imitate
    stats = {"policy/entropy": float(masked_mean(evaluation.entropy, trajectory.mask | imitate, count))}
    if bool(trajectory.mask.any()):
        difference = evaluation.logp - trajectory.logp
        stats["policy/kl_sampling"] = float(masked_mean(difference.exp() - 1 - difference, trajectory.mask, count))
    return stats


@torch.no_grad()
def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> float:
    """How much of the targets' variance the critic explains: 1 - Var(target - value) / Var(target).

    Args:
        value: [B, T] estimates.
        target: [B, T] what they should be.
        mask: [B, T] bool.

    Returns:
        1 for a perfect critic, 0 for a constant one, negative for a harmful one; 0 where the targets do not vary.
    """
    variance = float(masked_std(target, mask)) ** 2
    return 1 - float(masked_std(target - value, mask)) ** 2 / variance if variance > 1e-12 else 0.0
