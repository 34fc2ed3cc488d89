"""Layers that explore: by learned noise on their weights, or by leaving units out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.networks import initialise_orthogonal


class NoisyLinear(nn.Module):
    """A linear layer whose weights are disturbed by noise of learned size: y = (W + S ∘ f(ε_out) f(ε_in)ᵀ) x + b + s ∘ f(ε_out).

    f(x) = sign(x) √|x|, ε normal. Without noise drawn, or after a silent draw, it is the plain layer.

    Args:
        num_inputs: size of the input's last dimension.
        num_outputs: size of the output's last dimension.
        noise: first size of the noise, times √num_inputs.
        gain: of the orthogonal initial weights.
        generator: draws the initial weights; PyTorch's own when None.

    Source: Fortunato et al. 2018 (Noisy networks for exploration), factorised Gaussian noise.
    Differs from: the paper, in orthogonal initial weights, like all networks here.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(
        self, num_inputs: int, num_outputs: int, *, noise: float = 0.5, gain: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.mean = nn.Linear(num_inputs, num_outputs)
        initialise_orthogonal(self.mean, gain, generator)
        self.weight_noise = nn.Parameter(torch.full((num_outputs, num_inputs), noise / math.sqrt(num_inputs)))
        self.bias_noise = nn.Parameter(torch.full((num_outputs,), noise / math.sqrt(num_inputs)))
        # Drawn anew before each use, so there is nothing to save.
        self.register_buffer("noise_in", torch.zeros(num_inputs), persistent=False)
        self.register_buffer("noise_out", torch.zeros(num_outputs), persistent=False)

    def draw_noise(self, generator: torch.Generator | None, *, silent: bool = False) -> None:
        """Draw the noise of the next uses; no noise when `silent`."""
        for buffer in (self.noise_in, self.noise_out):
            if silent:
                buffer.zero_()
            else:
                draw = torch.randn(buffer.shape, generator=generator, device=buffer.device)
                buffer.copy_(draw.sign() * draw.abs().sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs]."""
        weight = self.mean.weight + self.weight_noise * torch.outer(self.noise_out, self.noise_in)
        return F.linear(x, weight, self.mean.bias + self.bias_noise * self.noise_out)


class Stream(nn.Module):
    """The layers behind an encoder, with rectified units between them.

    Args:
        num_inputs: size of the input's last dimension.
        hidden: sizes of the layers between.
        num_outputs: size of the output's last dimension.
        noise: makes the layers noisy, see `NoisyLinear`; plain ones when None.
        generator: draws the initial weights; PyTorch's own when None.
    """

    def __init__(
        self, num_inputs: int, hidden: Sequence[int], num_outputs: int, noise: float | None, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        sizes = [num_inputs, *hidden, num_outputs]
        self.layers = nn.ModuleList()
        for here, there in zip(sizes[:-1], sizes[1:], strict=True):
            gain = 0.01 if len(self.layers) == len(hidden) else math.sqrt(2.0)
            if noise is not None:
                self.layers.append(NoisyLinear(here, there, noise=noise, gain=gain, generator=generator))
            else:
                self.layers.append(nn.Linear(here, there))
                initialise_orthogonal(self.layers[-1], gain, generator)

    def forward(self, x: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs], leaving out a share of the hidden units."""
        for layer in self.layers[:-1]:
            x = drop_units(layer(x).relu(), dropout, generator)
        return self.layers[-1](x)


def drop_units(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the units to 0 and the others higher, so that the mean stays."""
    if share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)
