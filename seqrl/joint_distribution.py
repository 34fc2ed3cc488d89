"""A choice and a vector of real numbers at once, as a policy has it that moves and decides where to look."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.distributions import Categorical, Gaussian, SquashedGaussian


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
