"""The distributions at the end of a policy that acts: categories, several categories at once, Gaussian, squashed Gaussian, joint.

The last dimension is the action's, all before it are kept. Everything but `sample` and `mode` is differentiable.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Same = TypeVar("Same", bound="Distribution")


class Distribution(Protocol):
    """What a distribution over actions can do; its leaves are [..., N] or [..., D], its numbers [...]."""

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one action for each leading place."""

    def mode(self) -> Tensor:
        """Give the action that a greedy policy takes."""

    def logp(self, action: Tensor) -> Tensor:
        """Give the log-probability or log-density of an action, nats."""

    def entropy(self) -> Tensor:
        """Give the entropy, nats."""

    def kl(self: Same, other: Same) -> Tensor:
        """Give KL(self || other), nats."""

    def detach(self: Same) -> Same:
        """Give the same distribution without its gradients."""


@dataclass(frozen=True)
class Categorical:
    """One of N actions with probability softmax(logits); a logit of -inf forbids its action.

    Attributes:
        logits: [..., N] float.
    """

    logits: Tensor

    @cached_property
    def _logp(self) -> Tensor:
        """Log-probabilities of all actions, [..., N] nats."""
        return self.logits.log_softmax(dim=-1)

    def mean_logp(self) -> Tensor:
        """Give the mean log-probability over all actions, which label smoothing needs, [...] nats."""
        return self._logp.mean(dim=-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw an index, long [...]: the first to ring of N exponential clocks with rates softmax(logits)."""
        # One draw, one division and one argmax: for small batches a fifth of what torch.multinomial takes.
        clock = torch.empty_like(self.logits).exponential_(generator=generator)
        return self.logits.detach().softmax(dim=-1).div_(clock).argmax(dim=-1)

    def mode(self) -> Tensor:
        """Give the most probable index, long [...]."""
        return self.logits.argmax(dim=-1)

    def logp(self, action: Tensor) -> Tensor:
        """Give log softmax(logits)[action] for long [...], nats."""
        return self._logp.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Give -Σ p log p, [...] nats; a forbidden action adds nothing."""
        logp = self._logp
        # The gradient of 0 * -inf would be NaN.
        return -(logp.exp() * logp.masked_fill(logp == -math.inf, 0.0)).sum(dim=-1)

    def kl(self, other: Categorical) -> Tensor:
        """Give Σ p (log p - log q), [...] nats; an action that both forbid adds nothing."""
        logp, other_logp = self._logp, other._logp
        forbidden = logp == -math.inf
        difference = logp.masked_fill(forbidden, 0.0) - other_logp.masked_fill(forbidden, 0.0)
        return (logp.exp() * difference).sum(dim=-1)

    def detach(self) -> Categorical:
        """Give the same distribution without its gradients."""
        return Categorical(self.logits.detach())


@dataclass(frozen=True)
class MultiCategorical:
    """Several independent choices at once; log-probabilities, entropies and divergences add up.

    Attributes:
        logits: [..., ΣN] float, the choices' logits one after another.
        sizes: N of each choice.
    """

    logits: Tensor
    sizes: tuple[int, ...]

    @property
    def choices(self) -> list[Categorical]:
        """Each choice by itself."""
        return [Categorical(part) for part in self.logits.split(self.sizes, dim=-1)]

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw an index for each choice, long [..., K]."""
        return torch.stack([choice.sample(generator) for choice in self.choices], dim=-1)

    def mode(self) -> Tensor:
        """Give the most probable index of each choice, long [..., K]."""
        return torch.stack([choice.mode() for choice in self.choices], dim=-1)

    def logp(self, action: Tensor) -> Tensor:
        """Give Σ_k log π_k(a_k) for long [..., K], nats."""
        return sum_up([choice.logp(part) for choice, part in zip(self.choices, action.unbind(dim=-1), strict=True)])

    def entropy(self) -> Tensor:
        """Give the sum of the entropies, [...] nats."""
        return sum_up([choice.entropy() for choice in self.choices])

    def kl(self, other: MultiCategorical) -> Tensor:
        """Give the sum of the divergences, [...] nats."""
        return sum_up([mine.kl(its) for mine, its in zip(self.choices, other.choices, strict=True)])

    def detach(self) -> MultiCategorical:
        """Give the same distribution without its gradients."""
        return MultiCategorical(self.logits.detach(), self.sizes)


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with independent dimensions.

    Attributes:
        mean: [..., D] float.
        log_std: [..., D] or [D] float, logarithm of the deviation.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw mean + e^log_std ε with ε normal, [..., D]."""
        noise = torch.randn(self.mean.shape, dtype=self.mean.dtype, device=self.mean.device, generator=generator)
        return self.mean.detach() + self.log_std.detach().exp() * noise

    def mode(self) -> Tensor:
        """Give the mean, [..., D]."""
        return self.mean.detach()

    def logp(self, action: Tensor) -> Tensor:
        """Give Σ_d -½ ((a - mean)/std)² - log std - ½ log 2π for [..., D], nats."""
        z = (action - self.mean) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Give Σ_d log std + ½ log 2πe, [...] nats."""
        each = self.log_std + 0.5 * math.log(2.0 * math.pi * math.e)
        return each.sum(dim=-1).expand(self.mean.shape[:-1])

    def kl(self, other: Gaussian) -> Tensor:
        """Give Σ_d log(s'/s) + (s² + (m - m')²) / 2s'² - ½, [...] nats."""
        ratio = (2.0 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) * (-other.log_std).exp()).square()
        return (other.log_std - self.log_std + 0.5 * (ratio + distance - 1.0)).sum(dim=-1)

    def detach(self) -> Gaussian:
        """Give the same distribution without its gradients."""
        return Gaussian(self.mean.detach(), self.log_std.detach())


@dataclass(frozen=True)
class SquashedGaussian:
    """tanh(u) with u normal: actions between -1 and 1.

    An action is stored as its u, before the tanh: near the limits tanh(u) no longer tells it. Whoever hands it to the
    environment squashes it.

    Source: Haarnoja et al. 2018 (Soft actor-critic), appendix on enforcing action bounds.

    Attributes:
        mean: [..., D] float, of u.
        log_std: [..., D] or [D] float, logarithm of u's deviation.
    """

    mean: Tensor
    log_std: Tensor

    @property
    def unsquashed(self) -> Gaussian:
        """The distribution of u."""
        return Gaussian(self.mean, self.log_std)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw u, [..., D]."""
        return self.unsquashed.sample(generator)

    def mode(self) -> Tensor:
        """Give u = mean, [..., D], whose tanh is the median of the action, not always its mode."""
        return self.mean.detach()

    def logp(self, action: Tensor) -> Tensor:
        """Give the log-density of tanh(u), log N(u) - Σ_d log(1 - tanh(u)²), for u [..., D], nats."""
        return self.unsquashed.logp(action) - tanh_log_gradient(action).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Give the Gaussian's entropy + Σ_d E[log(1 - tanh(u)²)], [...] nats, the mean by Gauss-Hermite quadrature.

        Differs from: the paper, which estimates it from the sample at hand. The quadrature has no noise and an error below
        2e-3 up to a deviation of e.
        """
        points, weights = _quadrature(self.mean.dtype, self.mean.device)
        u = self.mean.unsqueeze(-1) + self.log_std.exp().unsqueeze(-1) * points
        return self.unsquashed.entropy() + (tanh_log_gradient(u) * weights).sum(dim=(-2, -1))

    def kl(self, other: SquashedGaussian) -> Tensor:
        """Give the divergence of the two u, which squashing both does not change, [...] nats."""
        return self.unsquashed.kl(other.unsquashed)

    def detach(self) -> SquashedGaussian:
        """Give the same distribution without its gradients."""
        return SquashedGaussian(self.mean.detach(), self.log_std.detach())


@dataclass(frozen=True)
class Joint:
    """An independent choice and vector; log-probabilities, entropies and divergences add up.

    π(a, u) = π(a) π(u). An action is one row of real numbers, [..., 1 + D]: the choice's index, then the vector.

    Attributes:
        choice: over N actions, leaves [..., N].
        vector: over D real numbers, leaves [..., D].

    Source: Mnih et al. 2014 (Recurrent models of visual attention), the model's actions: what is done and where the next glimpse is
    taken, drawn independently given the core's state.
    """

    choice: Categorical
    vector: Gaussian | SquashedGaussian

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw both, [..., 1 + D]."""
        return _joined(self.choice.sample(generator), self.vector.sample(generator))

    def mode(self) -> Tensor:
        """Give the most probable index and the vector's mode, [..., 1 + D]."""
        return _joined(self.choice.mode(), self.vector.mode())

    def logp(self, action: Tensor) -> Tensor:
        """Give log π(a) + log π(u) for [..., 1 + D], [...] nats."""
        return self.choice.logp(action[..., 0].long()) + self.vector.logp(action[..., 1:])

    def entropy(self) -> Tensor:
        """Give the sum of the entropies, [...] nats."""
        return self.choice.entropy() + self.vector.entropy()

    def kl(self, other: Joint) -> Tensor:
        """Give the sum of the divergences, [...] nats."""
        # Both come from one policy, so that the vectors are of one kind.
        return self.choice.kl(other.choice) + self.vector.kl(other.vector)  # type: ignore[arg-type]

    def detach(self) -> Joint:
        """Give the same distribution without its gradients."""
        return Joint(self.choice.detach(), self.vector.detach())


def _joined(index: Tensor, vector: Tensor) -> Tensor:
    return torch.cat([index.unsqueeze(-1).to(vector), vector], dim=-1)


def tanh_log_gradient(unsquashed: Tensor) -> Tensor:
    """Give log(1 - tanh(u)²) = 2 (log 2 - u - softplus(-2u)), elementwise, exact for large |u| too.

    Source: Haarnoja et al. 2018 (Soft actor-critic), appendix on enforcing action bounds.
    """
    return 2.0 * (math.log(2.0) - unsquashed - F.softplus(-2.0 * unsquashed))


def sum_up(terms: list[Tensor]) -> Tensor:
    """Add tensors of one shape."""
    return functools.reduce(torch.add, terms)


@functools.lru_cache(maxsize=8)
def _quadrature(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give points and weights with Σ w f(x) = E[f(ε)], ε normal."""
    points, weights = np.polynomial.hermite_e.hermegauss(32)
    pair = (points, weights / weights.sum())
    return tuple(torch.as_tensor(array, dtype=dtype, device=device) for array in pair)  # type: ignore[return-value]
