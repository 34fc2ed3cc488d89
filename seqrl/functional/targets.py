"""What action values are pulled towards: n-step transitions, and the losses of distributions over returns."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.functional import losses

Estimate = Literal["mean", "categorical", "quantile"]


@torch.no_grad()
def n_step_transitions(reward: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Join up to n steps into one transition: what was earned, how much what follows counts, and where it follows.

    R_t = Σ_{i<k} γ^i r_{t+i},  D_t = γ^k, or 0 after a termination,  j_t = t + k
    where k is n, or less where the row ends or is cut off earlier. The target is R_t + D_t V_{j_t}.

    The pieces come apart, other than from `seqrl.functional.returns.n_step`, because a target may need more of what follows than its
    value: the greedy action of another network, or a distribution.

    Args:
        reward: [B, T] float.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.
        n: largest number of steps joined, at least 1.

    Returns:
        ([B, T] R, [B, T] D, [B, T] long j in 1..T).

    Raises:
        ValueError: when the discount is outside 0..1 or n is below 1.

    Source: Sutton & Barto 2018 (Reinforcement learning), section 7.1; for DQN: Hessel et al. 2018 (Rainbow), multi-step learning.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma: expected a number in 0..1, got {gamma}")
    if n < 1:
        raise ValueError(f"n: expected at least 1 step, got {n}")
    B, T = reward.shape
    ahead = min(n, T) - 1
    n_step_return, bootstrap_discount = reward.clone(), gamma * (~terminated).to(reward.dtype)
    bootstrap_index = torch.arange(1, T + 1, device=reward.device).expand(B, T)
    if ahead == 0:
        return n_step_return, bootstrap_discount, bootstrap_index
    bootstrap_index = bootstrap_index.clone()
    # Past the last step there is a truncation without a reward, so that every column sees the same number of steps.
    rewards, terminations = F.pad(reward, [0, ahead]), F.pad(terminated, [0, ahead])
    ends = F.pad(truncated | terminated, [0, ahead], value=True)
    going = ~ends[:, :T]
    going[:, -1] = False
    for i in range(1, ahead + 1):
        n_step_return += torch.where(going, gamma**i * rewards[:, i : i + T], 0.0)
        bootstrap_discount = torch.where(going, gamma ** (i + 1) * (~terminations[:, i : i + T]).to(reward.dtype), bootstrap_discount)
        bootstrap_index += going
        going = going & ~ends[:, i : i + T]
        going[:, T - 1 - i :] = False
    return n_step_return, bootstrap_discount, bootstrap_index


def project_categorical(probability: Tensor, n_step_return: Tensor, bootstrap_discount: Tensor, support: Tensor) -> Tensor:
    """Shift and shrink a distribution over fixed returns, and share it out among those returns again.

    The mass of atom z_j goes to clip(R + D z_j, z_1, z_N), split between the two atoms next to it in proportion to nearness.

    Args:
        probability: [..., N] of the returns that follow.
        n_step_return: [...] R.
        bootstrap_discount: [...] D.
        support: [N] evenly spaced returns z, rising.

    Returns:
        [..., N] probabilities with the same total mass.

    Source: Bellemare et al. 2017 (A distributional perspective on reinforcement learning), eq. 7.
    """
    N = support.shape[0]
    spacing = (support[-1] - support[0]) / (N - 1)
    moved = (n_step_return.unsqueeze(-1) + bootstrap_discount.unsqueeze(-1) * support).clamp(support[0], support[-1])
    place = ((moved - support[0]) / spacing).clamp(0, N - 1)
    lower = place.floor().long()
    upper_share = place - lower
    upper = (lower + 1).clamp(max=N - 1)
    projected = torch.zeros_like(probability)
    projected.scatter_add_(-1, lower, probability * (1 - upper_share))
    return projected.scatter_add_(-1, upper, probability * upper_share)


def categorical_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Take the cross-entropy of a distribution over returns, -Σ_i target_i log softmax(logits)_i.

    Args:
        logits: [..., N] of the estimate.
        target: [..., N] probabilities, a constant.

    Returns:
        [...] nats.

    Source: Bellemare et al. 2017 (A distributional perspective on reinforcement learning), algorithm 1.
    """
    return -(target.detach() * logits.log_softmax(dim=-1)).sum(dim=-1)


def quantile_huber(quantiles: Tensor, target: Tensor, huber_delta: float = 1.0) -> Tensor:
    """Pull each quantile towards samples of the return, harder from the side on which it should not be.

    L = Σ_i mean_j |τ_i - 1[u_ij < 0]| H_κ(u_ij) / κ with u_ij = target_j - θ_i, τ_i = (2i - 1) / 2N and H_κ the Huber loss;
    with κ = 0, |τ_i - 1[u_ij < 0]| |u_ij|.

    Args:
        quantiles: [..., N] θ, the estimate.
        target: [..., M] samples of the return, constants.
        huber_delta: κ, in the unit of the reward; 0 for the plain quantile loss.

    Returns:
        [...] loss.

    Raises:
        ValueError: when κ is negative.

    Source: Dabney et al. 2018 (Distributional reinforcement learning with quantile regression), eq. 8 to 10.
    """
    if huber_delta < 0:
        raise ValueError(f"huber_delta: expected no negative number, got {huber_delta}")
    N = quantiles.shape[-1]
    fraction = (torch.arange(N, device=quantiles.device, dtype=quantiles.dtype) + 0.5) / N
    difference = target.detach().unsqueeze(-2) - quantiles.unsqueeze(-1)
    weight = (fraction.unsqueeze(-1) - (difference.detach() < 0).to(quantiles.dtype)).abs()
    if huber_delta == 0:
        size = difference.abs()
    else:
        size = F.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=huber_delta) / huber_delta
    return (weight * size).mean(dim=-1).sum(dim=-1)


def bootstrapped(outputs: Tensor, n_step_return: Tensor, bootstrap_discount: Tensor, estimate: Estimate, support: Tensor) -> Tensor:
    """Give what an action's estimate is pulled towards, R + D Q(s', a'), of each kind of estimate.

    Args:
        outputs: [..., K] of the action that follows: a value, K quantiles, or logits of K fixed returns.
        n_step_return: [...] R.
        bootstrap_discount: [...] D.
        estimate: their kind.
        support: [K] the fixed returns of "categorical".

    Returns:
        [...] values, [..., K] quantiles or [..., K] probabilities.
    """
    if estimate == "mean":
        return n_step_return + bootstrap_discount * outputs.squeeze(-1)
    if estimate == "quantile":
        return n_step_return.unsqueeze(-1) + bootstrap_discount.unsqueeze(-1) * outputs
    return project_categorical(outputs.softmax(dim=-1), n_step_return, bootstrap_discount, support)


def action_value_loss(
    value: Tensor, outputs: Tensor | None, target: Tensor, estimate: Estimate, huber_delta: float | None
) -> tuple[Tensor, Tensor]:
    """Give the loss and the error of estimates, [...] each; of fixed returns the error is the divergence KL(target || estimate).

    Args:
        value: [...] the mean of what is estimated.
        outputs: [..., K] quantiles or logits; None for "mean".
        target: see `bootstrapped`.
        estimate: its kind.
        huber_delta: beyond it errors count linearly; None for the squared error, or the plain quantile loss.
    """
    if outputs is None:
        return losses.td(value.float(), target, huber_delta), value - target
    if estimate == "quantile":
        return quantile_huber(outputs.float(), target, huber_delta or 0.0), value - target.mean(dim=-1)
    loss = categorical_cross_entropy(outputs.float(), target)
    return loss, loss + torch.special.xlogy(target, target).sum(dim=-1)
