"""PPO's losses as one node, against the plain ones and against finite differences."""

from __future__ import annotations

import functools

import pytest
import torch

from seqrl import losses
from seqrl.reduce import masked_mean
from seqrl.small_losses import ppo_means

CLIP = 0.2


def columns(size: int, *, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Log-probabilities, values, old log-probabilities, advantages and targets; the ratio is in, above and below the interval."""
    generator = torch.Generator().manual_seed(3)
    logp, value, advantage, target = torch.randn(4, size, 2, generator=generator, dtype=dtype)
    old_logp = logp + 0.4 * torch.randn(size, 2, generator=generator, dtype=dtype)
    advantage[0] = 0.0
    return [logp.requires_grad_(), value.requires_grad_(), old_logp, advantage, target]


def test_one_node_is_the_plain_losses_and_their_derivative() -> None:
    logp, value, old_logp, advantage, target = columns(200, dtype=torch.float32)
    ratio = (logp - old_logp).exp()
    assert (ratio > 1 + CLIP).any() and (ratio < 1 - CLIP).any() and (advantage > 0).any() and (advantage < 0).any()
    plain = (
        masked_mean(losses.ppo_clip(logp, old_logp, advantage, CLIP, CLIP), None, 300.0),
        masked_mean(losses.value(value, target), None, 300.0),
    )
    for count in (300.0, torch.tensor(300.0)):
        got = ppo_means(logp, value, old_logp, advantage, target, CLIP, count)
        for mine, theirs in zip(got, plain, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
        slopes = (torch.autograd.grad(3.0 * policy + 5.0 * error, (logp, value), retain_graph=True) for policy, error in (got, plain))
        for mine, theirs in zip(*slopes, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_one_node_has_the_derivative_of_finite_differences() -> None:
    logp, value, *constants = columns(6)
    run = functools.partial(ppo_means, old_logp=constants[0], advantage=constants[1], target=constants[2], clip=CLIP, count=7.0)
    assert torch.autograd.gradcheck(run, (logp, value))


def test_a_ratio_that_overflows_gives_no_gradient_where_it_is_clipped() -> None:
    logp = torch.tensor([[200.0, 0.1]], requires_grad=True)
    zeros, gain = torch.zeros(1, 2), torch.ones(1, 2)
    objective, _ = ppo_means(logp, zeros, zeros, gain, zeros, CLIP, 2.0)
    objective.backward()
    assert logp.grad is not None and objective.item() == pytest.approx(-0.5 * (1.2 + 1.10517), abs=1e-5)
    assert logp.grad.tolist() == [[0.0, pytest.approx(-0.5 * 1.10517, abs=1e-5)]]


def test_shapes_that_would_broadcast_are_refused() -> None:
    one, row = torch.zeros(3, 1), torch.zeros(1, 3)
    with pytest.raises(ValueError, match="advantage: expected shape"):
        ppo_means(one, one, one, row, one, CLIP, 3.0)
