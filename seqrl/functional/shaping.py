"""Changes to rewards before any return is taken: penalties, limits, scales and finer credit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.functional.losses import KLEstimator, check_shapes, kl


@torch.no_grad()
def kl_penalty(
    reward: Tensor, logp: Tensor, reference_logp: Tensor, mask: Tensor, coefficient: float, estimator: KLEstimator = "k1"
) -> Tensor:
    """Charge each step for leaving a reference policy: r_t - β d_t with d_t = log π(a_t) - log ref(a_t).

    Args:
        reward: [B, T] float.
        logp: [B, T] log-probability under the policy that sampled the actions, nats.
        reference_logp: [B, T] the same under the reference.
        mask: [B, T] bool, steps that count; the others keep their reward.
        coefficient: β, reward per nat.
        estimator: see `seqrl.functional.losses.kl`.

    Raises:
        ValueError: when the shapes differ or there is no such estimator.

    Source: Ziegler et al. 2019 (Fine-tuning language models from human preferences), the penalised reward, spread over the
    tokens as in Stiennon et al. 2020 (Learning to summarize from human feedback).
    """
    check_shapes(reward, logp=logp, mask=mask)
    return reward - coefficient * torch.where(mask, kl(logp, reference_logp, estimator), 0.0)


def clip_reward(reward: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Limit each reward to an interval: min(max(r, low), high).

    Args:
        reward: any shape, float.
        low: smallest reward.
        high: largest reward.

    Raises:
        ValueError: when low is not below high.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods.
    Differs from: Atari code often takes the sign instead, which is the same for rewards of whole numbers.
    """
    if not low < high:
        raise ValueError(f"expected low < high, got {low} and {high}")
    return reward.clamp(low, high)


@dataclass(frozen=True)
class Moments:
    """Mean and spread of a stream of numbers so far.

    Attributes:
        count: how many numbers.
        mean: their mean; 0 before the first.
        variance: their population variance; 1 before the first, so that scaling by it changes nothing.
    """

    count: float = 0.0
    mean: float = 0.0
    variance: float = 1.0


def moments_of(x: Tensor, mask: Tensor) -> Moments:
    """Give the moments of the numbers that count.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.

    Raises:
        ValueError: when the shapes differ.
    """
    check_shapes(x, mask=mask)
    numbers = x[mask].double()
    if numbers.numel() == 0:
        return Moments()
    return Moments(float(numbers.numel()), float(numbers.mean()), float(numbers.var(unbiased=False)))


def merge_moments(moments: Moments, other: Moments) -> Moments:
    """Give the moments of two streams' numbers together.

    n = n₁ + n₂,  mean = mean₁ + (mean₂ - mean₁) n₂/n,  n var = n₁ var₁ + n₂ var₂ + (mean₂ - mean₁)² n₁ n₂/n

    Args:
        moments: of one stream.
        other: of the other.

    Source: Chan, Golub & LeVeque 1983 (Algorithms for computing the sample variance), the update for two samples.
    """
    if other.count == 0:
        return moments
    old, new = moments.count, other.count
    shift, total = other.mean - moments.mean, moments.count + new
    squares = old * moments.variance + new * other.variance + shift**2 * old * new / total
    return Moments(total, moments.mean + shift * new / total, squares / total)


@torch.no_grad()
def running_return(reward: Tensor, ended: Tensor, gamma: float, start: Tensor) -> tuple[Tensor, Tensor]:
    """Discount the rewards so far, whose spread is the scale of the returns to come: R_t = γ R_{t-1} + r_t, from 0 after an end.

    Args:
        reward: [B, T] float.
        ended: [B, T] bool, terminated or truncated.
        gamma: discount γ, in 0..1.
        start: [B] float, R before the first step: the second result of the call before, zeros at first.

    Returns:
        ([B, T] R, [B] R to start the next call with).

    Raises:
        ValueError: when the shapes differ.

    Source: Engstrom et al. 2020 (Implementation matters in deep policy gradients), reward scaling.
    """
    check_shapes(reward, ended=ended)
    check_shapes(reward[:, 0], start=start)
    columns: list[Tensor] = []
    for t in range(reward.shape[1]):
        total = gamma * start + reward[:, t]
        columns.append(total)
        start = torch.where(ended[:, t], 0.0, total)
    return torch.stack(columns, dim=1), start


def scale_reward(reward: Tensor, moments: Moments, epsilon: float = 1e-8) -> Tensor:
    """Divide rewards by the deviation of the returns, without shifting them: r / (√variance + ε).

    Args:
        reward: any shape, float.
        moments: of `running_return`.
        epsilon: ε, in the unit of the reward.

    Source: Engstrom et al. 2020 (Implementation matters in deep policy gradients), reward scaling.
    """
    return reward / (moments.variance**0.5 + epsilon)


def score_differences(prefix_score: Tensor, mask: Tensor) -> Tensor:
    """Credit each token with what it adds to the score: r_t = score(first t+1 tokens) - score(first t tokens).

    The rewards of a row add up to its score (less that of what it started from), so undiscounted returns rank whole rows
    as before, while each token's own part is known at once.

    Args:
        prefix_score: [B, T+1] float; column t is the score of the first t tokens, column 0 that of none.
        mask: [B, T] bool, steps that count; the others get 0.

    Returns:
        [B, T] rewards.

    Raises:
        ValueError: when the shapes do not fit.

    Source: Bahdanau et al. 2017 (An actor-critic algorithm for sequence prediction), reward shaping; it is the
    potential-based shaping of Ng et al. 1999 (Policy invariance under reward transformations).
    """
    if mask.ndim != 2 or tuple(prefix_score.shape) != (mask.shape[0], mask.shape[1] + 1):
        raise ValueError(
            f"prefix_score: expected shape [B, T+1] for mask {list(mask.shape)}, got {list(prefix_score.shape)}; add the empty prefix"
        )
    return torch.where(mask, prefix_score.diff(dim=1), 0.0)
