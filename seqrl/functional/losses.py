"""Losses, one number a step and not yet averaged: reduce them with `seqrl.functional.reductions`, which knows what counts.

All are to be minimised. Advantages, targets and old log-probabilities are constants: no gradient flows into them.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


def policy_gradient(logp: Tensor, advantage: Tensor) -> Tensor:
    """Weigh each action's log-probability with its advantage: -A_t log π(a_t), whose gradient is the score-function estimate.

    Args:
        logp: [B, T] log-probability under the policy being learned, nats.
        advantage: [B, T] float.

    Raises:
        ValueError: when the shapes differ.

    Source: Williams 1992 (Simple statistical gradient-following algorithms), episodic REINFORCE; Sutton et al. 2000 (Policy gradient
    methods for reinforcement learning with function approximation).
    """
    check_shapes(logp, advantage=advantage)
    return -logp * advantage.detach()


def ppo_clip(logp: Tensor, old_logp: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Weigh the probability ratio with the advantage, without reward for leaving the interval around 1.

    r_t = π(a_t) / π_old(a_t),  L_t = -min(r_t A_t, clip(r_t, 1 - clip_low, 1 + clip_high) A_t)

    which is -A_t min(r_t, 1 + clip_high) where A_t > 0, and -A_t max(r_t, 1 - clip_low) elsewhere.

    Args:
        logp: [B, T] log-probability under the policy being learned, nats.
        old_logp: [B, T] the same under the policy that sampled the actions.
        advantage: [B, T] float.
        clip_low: largest decrease of the ratio, in 0..1.
        clip_high: largest increase; the same as clip_low in the paper.

    Raises:
        ValueError: when the shapes differ or a limit is out of range.

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), eq. 7; two limits: Yu et al. 2025 (DAPO), Clip-Higher.
    """
    check_shapes(logp, old_logp=old_logp, advantage=advantage)
    if not 0.0 <= clip_low <= 1.0 or clip_high < 0.0:
        raise ValueError(f"expected clip_low in 0..1 and clip_high >= 0, got {clip_low} and {clip_high}")
    ratio, constant = (logp - old_logp.detach()).exp(), advantage.detach()
    # Limited from one side only, the ratio needs half of the operations that the minimum of two products needs.
    gain = constant > 0
    lowest, highest = torch.where(gain, 0.0, 1.0 - clip_low), torch.where(gain, 1.0 + clip_high, math.inf)
    return ratio.clamp(lowest.to(ratio.dtype), highest.to(ratio.dtype)) * -constant


def value(value: Tensor, target: Tensor, old_value: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Halve the squared error of a critic, optionally without reward for moving far from its old estimate.

    L_t = ½ (V_t - target_t)²; with a clip: L_t = ½ max((V_t - target_t)², (V_old + clip(V_t - V_old, ±clip) - target_t)²)

    Args:
        value: [B, T] float, the critic's estimate.
        target: [B, T] float, for instance from `seqrl.functional.returns.td_lambda`.
        old_value: [B, T] float, the estimate when the actions were sampled; only read with a clip.
        clip: largest move from the old estimate, in the unit of the reward; None for no limit.

    Raises:
        ValueError: when the shapes differ, or a clip comes without old values.

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), eq. 9; the clip is from the PPO2 of OpenAI Baselines,
    described by Engstrom et al. 2020 (Implementation matters in deep policy gradients), value function clipping.
    """
    check_shapes(value, target=target)
    constant = target.detach()
    error = (value - constant).square()
    if clip is None:
        return 0.5 * error
    if old_value is None:
        raise ValueError("old_value: expected the critic's old estimates [B, T] since clip is set, got None")
    check_shapes(value, old_value=old_value)
    old = old_value.detach()
    return 0.5 * torch.maximum(error, (old + (value - old).clamp(-clip, clip) - constant).square())


def td(value: Tensor, target: Tensor, huber_delta: float | None = None) -> Tensor:
    """Penalise a temporal difference δ = value - target: ½ δ², or linearly beyond a threshold.

    L = ½ δ² where |δ| <= κ, and κ (|δ| - ½ κ) elsewhere

    Args:
        value: [B, T] float, for instance the action value Q(s_t, a_t).
        target: [B, T] float, for instance r_t + γ max_a Q(s_{t+1}, a).
        huber_delta: κ > 0, in the unit of the reward; None for ½ δ² everywhere.

    Raises:
        ValueError: when the shapes differ or the threshold is not above 0.

    Source: Sutton & Barto 2018 (Reinforcement learning), section 6.1; Mnih et al. 2015 (Human-level control through deep reinforcement
    learning), methods (error clipping, κ = 1).
    """
    check_shapes(value, target=target)
    if huber_delta is None:
        return 0.5 * (value - target.detach()).square()
    if huber_delta <= 0:
        raise ValueError(f"huber_delta: expected a number above 0, got {huber_delta}")
    return F.huber_loss(value, target.detach(), reduction="none", delta=huber_delta)


def nll(logp: Tensor, mean_logp: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Take the cross-entropy of the demonstrated actions, optionally with smoothed labels.

    L_t = -(1 - ε) log π(a_t) - ε mean_a log π(a)

    Args:
        logp: [B, T] log-probability of the demonstrated action, nats.
        mean_logp: [B, T] mean log-probability over the actions that can be right, nats; only read when label_smoothing is above 0.
        label_smoothing: ε, in 0..1, the share of the label that is spread evenly over these actions.

    Raises:
        ValueError: when the shapes differ, ε is out of range, or ε is above 0 and the policy gives no mean_logp.

    Source: Szegedy et al. 2016 (Rethinking the Inception architecture for computer vision), label smoothing.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: expected a number in 0..1, got {label_smoothing}")
    if label_smoothing == 0.0:
        return -logp
    if mean_logp is None:
        raise ValueError(
            f"mean_logp: expected [B, T] since label_smoothing is {label_smoothing}, got None; "
            "let the policy's forward give it or set label_smoothing to 0"
        )
    check_shapes(logp, mean_logp=mean_logp)
    return -(1.0 - label_smoothing) * logp - label_smoothing * mean_logp


def kl(logp: Tensor, reference_logp: Tensor, estimator: KLEstimator = "k3") -> Tensor:
    """Estimate the divergence KL(π || reference) from one sampled action a step, with d = log π(a) - log ref(a).

    k1 = d            unbiased, of either sign
    k2 = ½ d²         biased, low variance; its gradient is that of KL(π || reference) when the actions come from π
    k3 = e^-d - 1 + d unbiased, never negative

    As a reward any will do. As a loss the gradient counts: k1's is 0 on average, k2's is the one wanted, and k3's is that
    of KL(reference || π), which agrees with it near the reference only.

    Args:
        logp: [B, T] log-probability of actions sampled from π, nats.
        reference_logp: [B, T] the same under the reference policy, a constant.
        estimator: "k1", "k2" or "k3".

    Raises:
        ValueError: when the shapes differ or there is no such estimator.

    Source: Schulman 2020 (Approximating KL divergence, joschu.net/blog/kl-approx.html).
    """
    check_shapes(logp, reference_logp=reference_logp)
    difference = logp - reference_logp.detach()
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference.square()
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"estimator: expected k1, k2 or k3, got {estimator!r}")


def check_shapes(first: Tensor, **others: Tensor) -> None:
    """Refuse shapes that would broadcast in silence."""
    for name, other in others.items():
        if other.shape != first.shape:
            raise ValueError(f"{name}: expected shape {list(first.shape)}, got {list(other.shape)}")
