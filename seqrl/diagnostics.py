"""What a trajectory and an update look like, in plain numbers; each key is explained in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml
from torch import Tensor

from seqrl.distributions import Gaussian
from seqrl.functional.importance import row_ratio
from seqrl.functional.reductions import masked_mean, masked_moments
from seqrl.trajectory import Evaluation, Trajectory


def read(stats: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Give stats as plain numbers; the tensors among them are read together, so that a device is waited for once.

    Args:
        stats: numbers, or tensors of shape [].
    """
    tensors = [stat for stat in stats.values() if isinstance(stat, Tensor)]
    numbers = iter(torch.stack([tensor.detach().double() for tensor in tensors]).tolist() if tensors else [])
    return {key: next(numbers) if isinstance(stat, Tensor) else float(stat) for key, stat in stats.items()}


@torch.no_grad()
def describe_rollout(trajectory: Trajectory) -> dict[str, float]:
    """Describe what was sampled: rewards, lengths, how rows ended, how different the rows of a group are.

    Args:
        trajectory: rows without any step that counts (demonstrations) are left out.

    Returns:
        Keys under `reward/` and `rollout/`.
    """
    rows = trajectory.mask.any(dim=1)
    num_rows = int(rows.sum())
    if not num_rows:
        return {}
    part = trajectory if num_rows == trajectory.batch_size else trajectory.select_rows(rows)
    score, length, everything = part.score, part.mask.sum(dim=1), torch.ones_like(part.mask[:, 0])
    mean, deviation = masked_moments(score, everything)
    num_steps = int(length.sum())
    stats: dict[str, Tensor | float] = {
        "reward/mean": mean,
        "reward/std": deviation,
        "reward/max": score.max(),
        "reward/min": score.min(),
        "rollout/length": num_steps / num_rows,
        "rollout/ended": int(part.terminated.any(dim=1).sum()) / num_rows,
        "rollout/num_rows": num_rows,
        "rollout/num_steps": num_steps,
    }
    if part.baseline is not None:
        stats["reward/baseline"] = masked_mean(part.baseline, everything)
    if part.group is not None and not part.action.is_floating_point():
        stats["rollout/unique"] = _unique_share(part)
    return read(stats)


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
    mean, deviation = masked_moments(advantage, mask)
    positive = masked_mean((advantage > 0).float(), mask)
    return read({"advantage/mean": mean, "advantage/std": deviation, "advantage/positive": positive})


@dataclass(frozen=True)
class PolicyStats:
    """What an optimiser step saw of the policy, [B, T] each; it holds no graph.

    Attributes:
        logp: log-probability of the actions under the policy before the step, nats.
        old_logp: the same under the policy that sampled.
        entropy: nats.
        mask: True where the policy chose.
        imitate: True where the action was demonstrated; None for nowhere.
        mean: [B, T, D] of the distribution over actions of real numbers; None of others.
        std: deviation of that distribution, [D] or [B, T, D].
    """

    logp: Tensor
    old_logp: Tensor
    entropy: Tensor
    mask: Tensor
    imitate: Tensor | None
    mean: Tensor | None = None
    std: Tensor | None = None

    @classmethod
    def of(cls, trajectory: Trajectory, evaluation: Evaluation) -> PolicyStats:
        """Note the evaluation of a trajectory."""
        chosen = evaluation.distribution
        mean, std = (chosen.mean.detach(), chosen.log_std.detach().exp()) if isinstance(chosen, Gaussian) else (None, None)
        noted = evaluation.logp.detach(), trajectory.logp, evaluation.entropy.detach(), trajectory.mask, trajectory.imitate
        return cls(*noted, mean, std)


@torch.no_grad()
def describe_update(policy_stats: Sequence[PolicyStats], clip: float | None = None, *, lags: bool = False) -> dict[str, float]:
    """Describe the evaluated policy: entropy and KL(sampling || current), over the steps that the policy chose.

    The KL estimate is mean(exp(d) - 1 - d) with d = logp - sampling logp. Where the policy chose
    nothing, there is the entropy over the demonstrated steps only; where nothing was seen, there is nothing.

    Args:
        policy_stats: of one optimiser step or of several, which are averaged.
        clip: also give the share of steps whose probability ratio is further than this from 1.
        lags: also describe the ratios of whole rows, see `describe_ratios`.

    Source: Schulman 2020 (Approximating KL divergence), estimator k3.
    """
    if not policy_stats:
        return {}
    mask = _flat([part.mask for part in policy_stats])
    entropy = _flat([part.entropy for part in policy_stats])
    if not bool(mask.any()):
        imitate = _flat([part.mask if part.imitate is None else part.imitate for part in policy_stats])
        return read({"policy/entropy": masked_mean(entropy, imitate)})
    difference = _flat([part.logp for part in policy_stats]) - _flat([part.old_logp for part in policy_stats])
    change = torch.expm1(difference)
    stats: dict[str, Tensor | float] = {
        "policy/entropy": masked_mean(entropy, mask),
        "policy/kl_sampling": masked_mean(change - difference, mask),
    }
    if clip is not None:
        stats["policy/clip_fraction"] = masked_mean((change.abs() > clip).float(), mask)
    if lags:
        ratios = torch.cat([row_ratio(part.logp, part.old_logp, part.mask) for part in policy_stats])
        stats |= describe_ratios(ratios, torch.cat([part.mask.any(dim=1) for part in policy_stats]))
    return read(stats | mean_spread(policy_stats))


def mean_spread(policy_stats: Sequence[PolicyStats]) -> dict[str, Tensor | float]:
    """Say how far the means μ of a Gaussian policy lie apart over the steps that it chose, in its own deviations σ; nothing of others.

    sqrt(Σ_d Var_t[μ_td] / mean_t Σ_d σ_td²)

    Near 0 the policy does the same whatever it sees: all glimpses go to one point.

    Args:
        policy_stats: as for `describe_update`.
    """
    means = [part.mean[part.mask] for part in policy_stats if part.mean is not None]
    deviations = [part.std.expand_as(part.mean)[part.mask] for part in policy_stats if part.mean is not None and part.std is not None]
    if not means:
        return {}
    variance = torch.cat(means).var(dim=0, correction=0).sum()
    return {"policy/mean_spread": (variance / torch.cat(deviations).square().sum(dim=1).mean()).sqrt()}


@torch.no_grad()
def describe_ratios(weight: Tensor, mask: Tensor) -> dict[str, float]:
    """Describe importance weights where they count.

    The effective share is (Σ w)² / (N Σ w²): which share of the N weights would tell as much if all were the same.

    Args:
        weight: [B, T] or [B] float.
        mask: the same shape, bool.

    Source: Kong 1992 (A note on importance sampling using standardized weights).
    """
    mean, square = masked_mean(weight, mask), masked_mean(weight.square(), mask)
    return {
        "importance/mean": float(mean),
        "importance/max": float(torch.where(mask, weight, 0.0).max()),
        "importance/effective_share": float(mean.square() / square.clamp(min=1e-30)),
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
    variance = masked_moments(target, mask)[1].item() ** 2
    return 1 - masked_moments(target - value, mask)[1].item() ** 2 / variance if variance > 1e-12 else 0.0


def _flat(tensors: list[Tensor]) -> Tensor:
    """Put all numbers of some tensors into one row, in a single call."""
    return torch._C._nn.flatten_dense_tensors(tensors)


def average_of(history: Sequence[Mapping[str, Tensor | float]]) -> dict[str, float]:
    """Average each number over those entries that have it.

    Args:
        history: numbers, or tensors of shape [], of several optimiser steps, which need not all have the same ones.
    """
    keys = dict.fromkeys(key for stats in history for key in stats)
    columns = {key: [stats[key] for stats in history if key in stats] for key in keys}
    return read({key: _mean(column) for key, column in columns.items()})


def _mean(column: Sequence[Tensor | float]) -> Tensor | float:
    """Average numbers, or tensors of shape []; those in one call."""
    tensors = [stat for stat in column if isinstance(stat, Tensor)]
    return torch.stack(tensors).mean() if len(tensors) == len(column) else sum(column) / len(column)


class Numbers(dict[str, float]):
    """Numbers by key; NaN where one is missing."""

    def __missing__(self, key: str) -> float:
        return math.nan


# Most serious first: what tells from an update's numbers whether a trouble is there (no comparison holds for one that is missing).
TROUBLES: Mapping[str, Callable[[Numbers], bool]] = {
    "skipped_steps": lambda n: n["optimiser/skipped_share"] > 0,
    "equal_advantages": lambda n: n["advantage/std"] < 1e-8,
    "never_ended": lambda n: n["rollout/ended"] == 0 and "critic/explained_variance" not in n,
    "few_unique": lambda n: n["rollout/unique"] < 0.3,
    "no_entropy": lambda n: 0 <= n["policy/entropy"] < 0.01,  # that of a continuous action may be negative
    # A trainer that weights for it may be far away on purpose.
    "far_from_sampling": lambda n: n["policy/kl_sampling"] > 0.1 and "importance/effective_share" not in n,
    "few_effective": lambda n: n["importance/effective_share"] < 0.05,
    "much_clipping": lambda n: n["policy/clip_fraction"] > 0.5,
    "no_clipping": lambda n: n["policy/clip_fraction"] == 0 and n["policy/optimiser_steps"] > 1,
    "poor_critic": lambda n: n["critic/explained_variance"] < -0.1,  # around 0 where a solved task's returns hardly vary
}
# These are no matter of chance: they are worth telling when they are found once.
AT_ONCE = ("skipped_steps",)


def warnings_for(stats: Mapping[str, float]) -> dict[str, str]:
    """Say in plain words what in an update's numbers is known to go wrong, and what to try.

    One update proves little: print what comes back update after update. A critic is expected to be poor in the first few.

    Args:
        stats: what a trainer's update gave; keys that it has not are not judged.

    Returns:
        For each trouble its kind and a sentence or two, most serious first; empty where nothing stands out.
    """
    numbers = Numbers(stats)
    return {kind: said_of(kind, n=numbers) for kind, found in TROUBLES.items() if found(numbers)}


def said_of(kind: str, **numbers: object) -> str:
    """Say what a trouble is and what to try, with the numbers that its text asks for."""
    return _texts()[kind].format(**numbers)


@cache
def _texts() -> dict[str, str]:
    """Read what to say of each trouble, once one is there."""
    found: dict[str, str] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return found
