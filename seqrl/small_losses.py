"""PPO's losses where all steps count, as one node of autograd's graph: for small networks the graph costs more than the sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def ppo_means(
    logp: Tensor, value: Tensor, old_logp: Tensor, advantage: Tensor, target: Tensor, clip: float, count: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Average `losses.ppo_clip` and `losses.value` without clip over all steps, Σ L_t / count; differentiable once.

    Args:
        logp: [B, T] log-probability under the policy being learned, nats.
        value: [B, T] the critic's estimate.
        old_logp: [B, T] log-probability under the policy that sampled the actions.
        advantage: [B, T] float.
        target: [B, T] float.
        clip: largest change of the ratio, in 0..1.
        count: what to divide by.

    Raises:
        ValueError: when the shapes differ.
    """
    for name, other in (("value", value), ("old_logp", old_logp), ("advantage", advantage), ("target", target)):
        if other.shape != logp.shape:
            raise ValueError(f"{name}: expected shape {list(logp.shape)} like logp, got {list(other.shape)}")
    return _PPOMeans.apply(logp, value, old_logp, advantage, target, clip, count)  # type: ignore[no-untyped-call, no-any-return]


class _PPOMeans(torch.autograd.Function):
    """With r = exp(logp - old): d/dlogp of -min(r A, clip(r) A) is -r A where that is the smaller one, and 0 elsewhere."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logp: Tensor, value: Tensor, old_logp: Tensor, advantage: Tensor, target: Tensor, clip: float, count: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        ratio = (logp - old_logp).exp_()
        gain = ratio * advantage
        limited = ratio.clamp_(1.0 - clip, 1.0 + clip).mul_(advantage)
        objective = torch.minimum(gain, limited).sum()
        error = value - target
        ctx.save_for_backward(gain.masked_fill_(gain > limited, 0.0), error)
        ctx.count = count
        return objective.neg_() / count, error.square().sum().mul_(0.5) / count

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, for_policy: Tensor, for_value: Tensor) -> tuple[Tensor | None, ...]:
        slope, error = ctx.saved_tensors
        return slope * (for_policy / -ctx.count), error * (for_value / ctx.count), None, None, None, None, None
