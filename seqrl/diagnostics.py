"""What a trajectory and an update look like, in plain numbers; each key is explained in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
def describe_update(trajectory: Trajectory, evaluation: Evaluation, num_chosen: Tensor, num_imitated: Tensor) -> dict[str, float]:
    """Describe the evaluated policy: entropy and KL(sampling || current), over the steps that the policy chose.

    The KL estimate is mean(exp(d) - 1 - d) with d = logp - sampling logp. Where the policy chose
    nothing, there is the entropy over the demonstrated steps only.

    Args:
        trajectory: B rows, perhaps a part of a batch.
        evaluation: of these rows.
        num_chosen: [] number of steps that the policy chose in the whole batch.
        num_imitated: [] number of demonstrated steps in the whole batch.

    Source: Schulman 2020 (Approximating KL divergence), estimator k3.
    """
    if not bool(num_chosen):
        imitate = torch.zeros_like(trajectory.mask) if trajectory.imitate is None else trajectory.imitate
        return {"policy/entropy": float(masked_mean(evaluation.entropy, imitate, num_imitated))}
    difference = evaluation.logp - trajectory.logp
    return {
        "policy/entropy": float(masked_mean(evaluation.entropy, trajectory.mask, num_chosen)),
        "policy/kl_sampling": float(masked_mean(difference.exp() - 1 - difference, trajectory.mask, num_chosen)),
    }


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


def average_of(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each number over those entries that have it.

    Args:
        history: numbers of several optimiser steps; a minibatch of demonstrations only, for instance, has no KL.
    """
    keys = dict.fromkeys(key for numbers in history for key in numbers)
    columns = {key: [numbers[key] for numbers in history if key in numbers] for key in keys}
    return {key: sum(column) / len(column) for key, column in columns.items()}


def warnings_for(stats: Mapping[str, float]) -> dict[str, str]:
    """Say in plain words what in an update's numbers is known to go wrong, and what to try.

    One update proves little: print what comes back update after update. A critic is expected to be poor in the first few.

    Args:
        stats: what a trainer's update gave; keys that it has not are not judged.

    Returns:
        For each trouble its kind and a sentence or two, most serious first; empty where nothing stands out.
    """

    def number(key: str) -> float:
        return stats.get(key, math.nan)  # every comparison with NaN is False

    same_rewards = f"all rewards are {number('reward/mean'):.4g}" if number("reward/std") < 1e-8 else "no row beat its baseline"
    troubles = [
        (
            number("advantage/std") < 1e-8,
            "equal_advantages",
            f"The advantages do not differ ({same_rewards}), so the rewards teach nothing. Look at the sampled rows and their "
            "rewards; try a reward with partial credit, a longer supervised warm start, or more samples of each context.",
        ),
        (
            number("rollout/ended") == 0 and "critic/explained_variance" not in stats,
            "never_ended",
            "Every row was cut off before its end, and no critic estimates what would have followed. Allow longer rows, or use "
            'a critic (baseline "critic", or PPO with advantage "gae").',
        ),
        (
            number("rollout/unique") < 0.3,
            "few_unique",
            f"Only {number('rollout/unique'):.0%} of the sampled rows differ within their context, so there is little to compare. "
            "Try an entropy bonus, a higher sampling temperature, or an earlier checkpoint to start from.",
        ),
        (
            0 <= number("policy/entropy") < 0.01,  # that of a continuous action may be negative
            "no_entropy",
            f"The policy is nearly deterministic (entropy {number('policy/entropy'):.2g} nats) and explores no more. Unless it is "
            "done, try an entropy bonus, a lower learning rate, or a penalty for leaving the reference policy.",
        ),
        (
            number("policy/kl_sampling") > 0.1,
            "far_from_sampling",
            f"The policy moved {number('policy/kl_sampling'):.2g} nats a step away from the one that sampled. Try a lower learning "
            "rate, fewer epochs, or target_kl.",
        ),
        (
            number("policy/clip_fraction") > 0.5,
            "much_clipping",
            f"{number('policy/clip_fraction'):.0%} of the probability ratios are clipped, so most steps teach nothing. Try a lower "
            "learning rate or fewer epochs.",
        ),
        (
            number("policy/clip_fraction") == 0 and number("policy/optimiser_steps") > 1,
            "no_clipping",
            "No probability ratio reached the clip: the policy hardly moves. Try a higher learning rate or more epochs.",
        ),
        (
            number("critic/explained_variance") < -0.1,  # around 0 where a solved task's returns hardly vary
            "poor_critic",
            f"The critic is worse than a constant (explained variance {number('critic/explained_variance'):.2g}; 1 is perfect). "
            "Try a higher value_weight or learning rate, smaller rewards, or a baseline without a critic.",
        ),
    ]
    return {kind: text for found, kind, text in troubles if found}
