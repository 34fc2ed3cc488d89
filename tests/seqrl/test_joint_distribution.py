"""A choice and a vector at once, against PyTorch's distributions, sums by hand and frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical as PeerCategorical
from torch.distributions import Normal, kl_divergence

from seqrl.distributions import Categorical, Gaussian, Joint, SquashedGaussian


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_by_hand() -> None:
    # Probabilities 1/4 and 3/4; a standard normal, whose density at 1 is e^-½ / √2π.
    joint = Joint(Categorical(torch.tensor([[0.0, math.log(3.0)]])), Gaussian(torch.zeros(1, 1), torch.zeros(1)))
    assert joint.logp(torch.tensor([[1.0, 1.0]])).item() == pytest.approx(math.log(0.75) - 0.5 - 0.918938533)
    assert joint.entropy().item() == pytest.approx(0.562335145 + 1.418938533)
    assert joint.mode().tolist() == [[1.0, 0.0]]


def test_agrees_with_pytorch() -> None:
    parts = [normal(4, 5, 9, seed=seed).requires_grad_() for seed in (0, 1)]
    one, two = (Joint(Categorical(part[..., :3]), Gaussian(part[..., 3:6], part[..., 6:])) for part in parts)
    peers = [(PeerCategorical(logits=part[..., :3]), Normal(part[..., 3:6], part[..., 6:].exp())) for part in parts]
    action = one.sample(seeded())
    index, vector = action[..., 0].long(), action[..., 1:]
    expected = peers[0][0].log_prob(index) + peers[0][1].log_prob(vector).sum(-1)
    torch.testing.assert_close(one.logp(action), expected)
    torch.testing.assert_close(one.entropy(), peers[0][0].entropy() + peers[0][1].entropy().sum(-1))
    divergence = kl_divergence(peers[0][0], peers[1][0]) + kl_divergence(peers[0][1], peers[1][1]).sum(-1)
    torch.testing.assert_close(one.kl(two), divergence)
    found, known = (torch.autograd.grad(total.sum(), parts[0])[0] for total in (one.logp(action), expected))
    torch.testing.assert_close(found, known)
    assert torch.equal(one.mode()[..., 0], parts[0][..., :3].argmax(dim=-1).double())
    assert torch.equal(one.mode()[..., 1:], parts[0][..., 3:6])


def test_samples_are_independent_and_have_the_right_frequencies() -> None:
    probability, mean = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([1.0, -2.0])
    joint = Joint(Categorical(probability.log().expand(40_000, 3)), Gaussian(mean.expand(40_000, 2), torch.tensor([0.0, -1.0])))
    action = joint.sample(seeded())
    assert action.shape == (40_000, 3) and torch.equal(action, joint.sample(seeded()))
    for index in range(3):
        rows = action[action[:, 0] == index]
        assert len(rows) / 40_000 == pytest.approx(float(probability[index]), abs=0.01)
        assert rows[:, 1:].mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.05)
        assert rows[:, 1:].std(dim=0).tolist() == pytest.approx([1.0, math.exp(-1.0)], rel=0.04)


def test_a_squashed_vector_and_detaching() -> None:
    part = normal(2, 5).requires_grad_()
    joint = Joint(Categorical(part[:, :3]), SquashedGaussian(part[:, 3:], torch.zeros(2, dtype=torch.float64)))
    action, detached = joint.sample(seeded()), joint.detach()
    grad = (1 - action[:, 1:].tanh().square()).log().sum(-1)
    peers = PeerCategorical(logits=part[:, :3]).log_prob(action[:, 0].long()), Normal(part[:, 3:], 1.0).log_prob(action[:, 1:]).sum(-1)
    torch.testing.assert_close(joint.logp(action), peers[0] + peers[1] - grad)
    assert not action.requires_grad and not detached.entropy().requires_grad
    torch.testing.assert_close(joint.kl(detached), torch.zeros(2, dtype=torch.float64))
