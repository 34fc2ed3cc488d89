"""Losses against exact gradients of an enumerable policy, hand constants, finite differences and PyTorch's own."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.functional import advantages, losses, returns

SEQUENCES = torch.tensor(list(itertools.product(range(3), repeat=2)))  # all rows of 2 tokens out of 3
EARNED = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1, -0.7, 1.1, 0.0, 3.0], dtype=torch.float64)


def parameters() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_()
    second = torch.randn(3, 3, generator=generator, dtype=torch.float64).requires_grad_()
    return first, second


def token_logp(first: Tensor, second: Tensor, tokens: Tensor) -> Tensor:
    """[N, 2] log-probability of each token; the second depends on the first."""
    head = first.log_softmax(0)[tokens[:, 0]]
    tail = second.log_softmax(1)[tokens[:, 0], tokens[:, 1]]
    return torch.stack([head, tail], dim=1)


def exact_gradient(reward: Tensor) -> tuple[Tensor, ...]:
    """Gradient of the expected reward, by enumeration of all rows."""
    weights = parameters()
    probability = token_logp(*weights, SEQUENCES).sum(dim=1).exp()
    return torch.autograd.grad((probability * reward).sum(), weights)


def same(got: tuple[Tensor, ...], expected: tuple[Tensor, ...], factor: float = 1.0) -> bool:
    return all(torch.allclose(x, factor * y, rtol=0, atol=1e-12) for x, y in zip(got, expected, strict=True))


@pytest.mark.parametrize("baseline", [0.0, 1.7])
def test_policy_gradient_is_exact_on_average(baseline: float) -> None:
    weights = parameters()
    logp = token_logp(*weights, SEQUENCES)
    loss = losses.policy_gradient(logp, (EARNED - baseline)[:, None].expand_as(logp)).sum(dim=1)
    mean = (logp.sum(dim=1).exp().detach() * loss).sum()
    assert same(torch.autograd.grad(-mean, weights), exact_gradient(EARNED))


def test_reward_to_go_leaves_the_gradient_unbiased() -> None:
    reward = torch.stack([torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)[SEQUENCES[:, 0]], EARNED], dim=1)
    ends = torch.zeros(9, 2, dtype=torch.bool)
    terminated = ends.clone()
    terminated[:, 1] = True
    go = returns.discounted_return(reward, torch.zeros(9, 3, dtype=torch.float64), terminated, ends, 1.0)
    weights = parameters()
    logp = token_logp(*weights, SEQUENCES)
    mean = (logp.sum(dim=1).exp().detach() * losses.policy_gradient(logp, go).sum(dim=1)).sum()
    assert same(torch.autograd.grad(-mean, weights), exact_gradient(reward.sum(dim=1)))


def pairs() -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor, Tensor]:
    """All pairs of rows: the weights, their log-probabilities [162, 2], scores, groups and how probable the pair is."""
    weights = parameters()
    chosen = torch.tensor(list(itertools.product(range(9), repeat=2)))
    logp = token_logp(*weights, SEQUENCES[chosen.flatten()])
    weight = logp.detach().sum(dim=1).view(81, 2).sum(dim=1).exp()
    return weights, logp, EARNED[chosen.flatten()], torch.arange(81).repeat_interleave(2), weight.repeat_interleave(2) / 2


def test_leave_one_out_leaves_the_gradient_unbiased() -> None:
    weights, logp, score, group, weight = pairs()
    advantage = advantages.leave_one_out(score, group)
    mean = (weight * losses.policy_gradient(logp, advantage[:, None].expand_as(logp)).sum(dim=1)).sum()
    assert same(torch.autograd.grad(-mean, weights), exact_gradient(EARNED))


def test_a_mean_that_includes_the_row_itself_would_not() -> None:
    weights, logp, score, _, weight = pairs()
    advantage = score - score.view(81, 2).mean(dim=1).repeat_interleave(2)
    mean = (weight * losses.policy_gradient(logp, advantage[:, None].expand_as(logp)).sum(dim=1)).sum()
    assert same(torch.autograd.grad(-mean, weights), exact_gradient(EARNED), factor=0.5)


def test_ppo_gradient_at_the_sampling_policy_is_the_policy_gradient() -> None:
    weights = parameters()
    logp = token_logp(*weights, SEQUENCES)
    loss = losses.ppo_clip(logp, logp, EARNED[:, None].expand_as(logp), 0.2, 0.2).sum(dim=1)
    mean = (logp.sum(dim=1).exp().detach() * loss).sum()
    assert same(torch.autograd.grad(-mean, weights), exact_gradient(EARNED))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "grad"),
    [
        (1.1, 2.0, -2.2, -2.2),  # inside: the gradient with regard to logp is -ratio * advantage
        (1.5, 2.0, -2.6, 0.0),  # too far up already: held at 1.3
        (0.5, 2.0, -1.0, -1.0),  # too low for a good action: free to come back
        (1.5, -2.0, 3.0, 3.0),  # too high for a bad action: free to come back
        (0.5, -2.0, 1.8, 0.0),  # too far down already: held at 0.9
        (1.0, 0.0, 0.0, 0.0),
    ],
)
def test_ppo_clip_by_hand(ratio: float, advantage: float, loss: float, grad: float) -> None:
    logp = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    got = losses.ppo_clip(logp, torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([[advantage]], dtype=torch.float64), 0.1, 0.3)
    assert got.shape == (1, 1) and got.item() == pytest.approx(loss)
    assert torch.autograd.grad(got.sum(), logp)[0].item() == pytest.approx(grad)


def test_value_by_hand() -> None:
    value, target, old = torch.tensor([[3.0, 3.0, 1.1]]), torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([[1.0, 1.0, 1.0]])
    assert losses.value(value, target).tolist() == [pytest.approx([2.0, 0.5, 0.405])]
    # Clipped to 1.5: errors 0.5 and -2.5; the larger loss counts, so leaving the old value is never rewarded.
    assert losses.value(value, target, old, 0.5).tolist() == [pytest.approx([2.0, 3.125, 0.405])]


def test_td_by_hand() -> None:
    value, target = torch.tensor([[0.0, 3.0, -4.0]]), torch.tensor([[0.5, 0.0, 0.0]])
    assert losses.td(value, target).tolist() == [[0.125, 4.5, 8.0]]
    assert losses.td(value, target, 1.0).tolist() == [[0.125, 2.5, 3.5]]
    assert losses.td(value, target, 2.0).tolist() == [[0.125, 4.0, 6.0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_nll_agrees_with_pytorch(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 3, 7, generator=generator), torch.tensor([[0, 6, 2], [3, 3, 1]])
    every = logits.log_softmax(-1)
    logp, mean_logp = every.gather(-1, target[..., None])[..., 0], every.mean(-1)
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=smoothing)
    assert torch.allclose(losses.nll(logp, mean_logp, smoothing).flatten(), expected, atol=1e-6)


REFERENCE = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def kl_and_gradient(estimator: str) -> tuple[float, Tensor]:
    """Mean of an estimator over all actions of the policy, and its mean gradient with the actions held fixed."""
    logits = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(0)
    mean = (logp.exp().detach() * losses.kl(logp, REFERENCE.log(), estimator)).sum()  # type: ignore[arg-type]
    return mean.item(), torch.autograd.grad(mean, logits)[0]


def true_kl(forward: bool = False) -> tuple[float, Tensor]:
    logits = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    p = logits.exp() / logits.exp().sum()
    total = (REFERENCE * (REFERENCE / p).log()).sum() if forward else (p * (p / REFERENCE).log()).sum()
    return total.item(), torch.autograd.grad(total, logits)[0]


def test_kl_estimators_on_average() -> None:
    exact, gradient = true_kl()
    (k1, k1_gradient), (k2, k2_gradient), (k3, k3_gradient) = (kl_and_gradient(name) for name in ("k1", "k2", "k3"))
    assert k1 == pytest.approx(exact) and k3 == pytest.approx(exact)
    assert k2 != pytest.approx(exact, rel=1e-3)
    assert torch.allclose(k1_gradient, torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(k2_gradient, gradient)
    assert torch.allclose(k3_gradient, true_kl(forward=True)[1])


def test_kl_by_hand() -> None:
    logp, reference = torch.tensor([[math.log(0.5), -3.0]]), torch.tensor([[math.log(0.25), -3.0]])
    assert losses.kl(logp, reference, "k1").tolist() == [pytest.approx([0.693147, 0.0], abs=1e-6)]
    assert losses.kl(logp, reference, "k2").tolist() == [pytest.approx([0.240227, 0.0], abs=1e-6)]
    assert losses.kl(logp, reference, "k3").tolist() == [pytest.approx([0.193147, 0.0], abs=1e-6)]


def test_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    y, z = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for function in (
        lambda x: losses.policy_gradient(x, y),
        lambda x: losses.ppo_clip(x, y, z, 0.2, 0.3),
        lambda x: losses.value(x, y, z, 0.1),
        lambda x: losses.td(x, y, 1.0),
        lambda x: losses.nll(x, x * 0.5, 0.1),
        lambda x: losses.kl(x, y, "k2"),
        lambda x: losses.kl(x, y, "k3"),
    ):
        assert torch.autograd.gradcheck(function, (x,))


def test_no_gradient_flows_into_constants() -> None:
    logp, constant = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    total = losses.policy_gradient(logp, constant) + losses.ppo_clip(logp, constant, constant, 0.2, 0.2)
    total = total + losses.value(logp, constant, constant, 0.2) + losses.td(logp, constant) + losses.kl(logp, constant)
    assert torch.autograd.grad(total.sum(), constant, allow_unused=True)[0] is None


def test_misfits_are_named() -> None:
    logp = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="advantage: expected shape"):
        losses.policy_gradient(logp, torch.zeros(2, 1))
    with pytest.raises(ValueError, match="old_logp: expected shape"):
        losses.ppo_clip(logp, torch.zeros(2), logp, 0.2, 0.2)
    with pytest.raises(ValueError, match="clip_low in 0..1"):
        losses.ppo_clip(logp, logp, logp, 1.2, 0.2)
    with pytest.raises(ValueError, match="old_value"):
        losses.value(logp, logp, clip=0.2)
    with pytest.raises(ValueError, match="target: expected shape"):
        losses.td(logp, torch.zeros(3))
    with pytest.raises(ValueError, match="huber_delta"):
        losses.td(logp, logp, 0.0)
    with pytest.raises(ValueError, match="mean_logp: expected"):
        losses.nll(logp, label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing: expected"):
        losses.nll(logp, logp, 1.1)
    with pytest.raises(ValueError, match="k1, k2 or k3"):
        losses.kl(logp, logp, "k4")  # type: ignore[arg-type]
