"""Distributions against hand-made numbers, PyTorch's own, numerical integration and frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical as PeerCategorical
from torch.distributions import Normal, kl_divergence

from seqrl.distributions import Categorical, Gaussian, MultiCategorical, SquashedGaussian, tanh_log_gradient

# The first row is (1/4, 3/4, forbidden).
LOGITS = torch.tensor([[[0.0, math.log(3.0), -math.inf], [50.0, -50.0, 0.0]]], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_categorical_by_hand() -> None:
    distribution = Categorical(LOGITS)
    assert distribution.logp(torch.tensor([[1, 0]])).tolist() == [pytest.approx([math.log(0.75), 0.0])]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert distribution.entropy().tolist() == [pytest.approx([entropy, 0.0], abs=1e-12)]
    assert distribution.mode().tolist() == [[1, 0]]
    # To (1/2, 1/2, forbidden): 1/4 log 1/2 + 3/4 log 3/2.
    even = Categorical(torch.tensor([[[0.0, 0.0, -math.inf]]], dtype=torch.float64))
    assert Categorical(LOGITS[:, :1]).kl(even).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_forbidden_actions_leave_all_gradients_finite() -> None:
    logits = LOGITS.clone().requires_grad_()
    distribution = Categorical(logits)
    total = distribution.entropy().sum() + distribution.logp(torch.tensor([[1, 0]])).sum() + distribution.kl(distribution.detach()).sum()
    (gradient,) = torch.autograd.grad(total, logits)
    assert gradient.isfinite().all() and gradient[0, 0, 2] == 0.0


def test_categorical_agrees_with_pytorch() -> None:
    logits, others = normal(4, 5, 9).requires_grad_(), normal(4, 5, 9, seed=1)
    action = torch.randint(0, 9, (4, 5), generator=seeded())
    peer = PeerCategorical(logits=logits)
    assert torch.allclose(Categorical(logits).logp(action), peer.log_prob(action))
    assert torch.allclose(Categorical(logits).entropy(), peer.entropy())
    assert torch.allclose(Categorical(logits).kl(Categorical(others)), kl_divergence(peer, PeerCategorical(logits=others)))
    assert torch.autograd.gradcheck(lambda x: Categorical(x).entropy(), (logits[0, :2],))


def test_categorical_samples_have_the_right_frequencies() -> None:
    probability = torch.tensor([0.1, 0.0, 0.6, 0.3])
    distribution = Categorical(probability.log().expand(100, 200, 4))
    action = distribution.sample(seeded())
    assert action.shape == (100, 200) and action.dtype == torch.long
    frequency = action.flatten().bincount(minlength=4) / 20000
    assert frequency[1] == 0.0
    assert (frequency - probability).abs().max() < 4 * math.sqrt(0.25 / 20000)  # four standard deviations
    assert torch.equal(action, distribution.sample(seeded()))
    assert Categorical(probability.log()).sample(seeded()).shape == ()


def test_several_choices_add_up() -> None:
    logits, others = normal(3, 5), normal(3, 5, seed=1)
    both, other = MultiCategorical(logits, (2, 3)), MultiCategorical(others, (2, 3))
    joint = torch.zeros(3, 2, 3, dtype=torch.float64)
    for first in range(2):
        for second in range(3):
            joint[:, first, second] = both.logp(torch.tensor([[first, second]] * 3))
    assert torch.allclose(joint.exp().sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(both.entropy(), -(joint.exp() * joint).sum(dim=(1, 2)))
    enumerated = torch.stack([other.logp(torch.tensor([[a, b]] * 3)) for a in range(2) for b in range(3)], dim=1)
    assert torch.allclose(both.kl(other), (joint.flatten(1).exp() * (joint.flatten(1) - enumerated)).sum(dim=1))
    assert both.sample(seeded()).shape == (3, 2)
    assert torch.allclose(both.logp(both.mode()), joint.flatten(1).amax(dim=1))


def test_gaussian_agrees_with_pytorch_and_its_samples_with_it() -> None:
    mean, log_std = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([-0.7, 0.3, 0.0])
    peer, action = Normal(mean, log_std.exp()), torch.randn(1, 3, generator=seeded())
    distribution = Gaussian(mean, log_std)
    assert torch.allclose(distribution.logp(action), peer.log_prob(action).sum(-1))
    assert torch.allclose(distribution.entropy(), peer.entropy().sum(-1)) and distribution.entropy().shape == (1,)
    other = Gaussian(mean + 0.3, log_std - 0.2)
    assert torch.allclose(distribution.kl(other), kl_divergence(peer, Normal(mean + 0.3, (log_std - 0.2).exp())).sum(-1))
    drawn = Gaussian(mean.expand(20000, 3), log_std).sample(seeded())
    assert torch.allclose(drawn.mean(dim=0), mean[0], atol=0.05)
    assert torch.allclose(drawn.std(dim=0), log_std.exp(), rtol=0.03)


@pytest.mark.parametrize(("mean", "log_std"), [(0.4, -0.5), (-2.0, 0.0), (0.0, 1.0)])
def test_squashed_gaussian_by_integration(mean: float, log_std: float) -> None:
    # Integrated over u, where the density is smooth: da = (1 - tanh(u)^2) du.
    u = torch.linspace(mean - 12 * math.exp(log_std), mean + 12 * math.exp(log_std), 200_001, dtype=torch.float64)
    distribution = SquashedGaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([log_std], dtype=torch.float64))
    logp, grad = distribution.logp(u[:, None]), 1 / u.cosh().square()
    assert torch.trapezoid(logp.exp() * grad, u).item() == pytest.approx(1.0, abs=1e-6)
    exact = -torch.trapezoid(logp.exp() * logp * grad, u).item()
    assert distribution.entropy().item() == pytest.approx(exact, abs=2e-3)


def test_squashing_both_leaves_the_divergence_as_it_is() -> None:
    mean, log_std = torch.tensor([0.4, -1.0]), torch.tensor([-0.5, 0.2])
    one, two = SquashedGaussian(mean, log_std), SquashedGaussian(mean - 0.5, log_std + 0.3)
    drawn = SquashedGaussian(mean.expand(200_000, 2), log_std).sample(seeded())
    assert one.kl(two).item() == pytest.approx((one.logp(drawn) - two.logp(drawn)).mean().item(), abs=0.01)


def test_squashed_gaussian_far_out() -> None:
    u = torch.tensor([-30.0, 0.0, 30.0], requires_grad=True)
    grad = tanh_log_gradient(u)
    # 1 - tanh(u)^2 = 1 / cosh(u)^2, about 4 e^(-2|u|); single precision cannot tell tanh(30) from 1.
    assert grad.tolist() == pytest.approx([math.log(4) - 60, 0.0, math.log(4) - 60], abs=1e-5)
    (gradient,) = torch.autograd.grad(grad.sum(), u)
    assert gradient.tolist() == pytest.approx([2.0, 0.0, -2.0])


def test_detached_distributions_have_no_gradient_and_the_same_numbers() -> None:
    logits = normal(2, 5).requires_grad_()
    mean, log_std = logits[:, :2], logits[:, 2:4]
    for distribution in (Categorical(logits), MultiCategorical(logits, (2, 3)), Gaussian(mean, log_std), SquashedGaussian(mean, log_std)):
        detached = distribution.detach()
        assert distribution.entropy().requires_grad and not detached.entropy().requires_grad
        assert torch.equal(distribution.entropy(), detached.entropy())
        assert torch.allclose(distribution.kl(detached), torch.zeros(2, dtype=torch.float64), atol=1e-12)
        assert not distribution.sample(seeded()).requires_grad
