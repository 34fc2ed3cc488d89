"""Networks that control policies are made of, and the distributions at their ends.

The heads are plain functions of logits or of mean and log-deviation: `*_sample` draws with a given generator, `*_logp` and
`*_entropy` are differentiable. Their last dimension is the action's; all before it are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
State = dict[str, Tensor]


def initialise_orthogonal(module: nn.Module, gain: float, generator: torch.Generator | None = None) -> None:
    """Give every matrix and kernel in a module orthogonal rows (or columns) times `gain`, and every bias 0.

    Args:
        module: its parameters are overwritten.
        gain: factor, √2 for layers followed by a rectifier.
        generator: draws the weights; PyTorch's own when None.

    Source: Saxe et al. 2014 (Exact solutions to the nonlinear dynamics of learning); small last layers: Andrychowicz et al. 2021
    (What matters for on-policy deep actor-critic methods?), section 3.2.
    """
    for parameter in module.parameters():
        if parameter.ndim >= 2:
            nn.init.orthogonal_(parameter, gain, generator=generator)
        else:
            nn.init.zeros_(parameter)


class MLP(nn.Module):
    """Stacks linear layers with an activation between them: h_{i+1} = activation(W_i h_i + b_i), the last one linear.

    Args:
        num_inputs: size of the input's last dimension.
        hidden_sizes: sizes of the layers between.
        num_outputs: size of the output's last dimension.
        activation: elementwise function.
        output_gain: scale of the last layer's weights: 0.01 for a policy that starts near uniform, 1 for a value.
        generator: draws the weights; PyTorch's own when None.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden_sizes: Sequence[int],
        num_outputs: int,
        *,
        activation: Activation = torch.tanh,
        output_gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = [num_inputs, *hidden_sizes, num_outputs]
        self.layers = nn.ModuleList(nn.Linear(here, there) for here, there in zip(sizes[:-1], sizes[1:], strict=True))
        self.activation = activation
        for index, layer in enumerate(self.layers):
            initialise_orthogonal(layer, output_gain if index == len(hidden_sizes) else math.sqrt(2.0), generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs]."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class NatureCNN(nn.Module):
    """Encodes stacked 84x84 game frames with the three convolutions and the linear layer of the Nature DQN.

    Args:
        num_channels: number of stacked frames.
        num_outputs: size of the code.
        generator: draws the weights; PyTorch's own when None.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods (model architecture).
    """

    def __init__(self, num_channels: int = 4, num_outputs: int = 512, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(num_channels, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, num_outputs),
            nn.ReLU(),
        )
        initialise_orthogonal(self.layers, math.sqrt(2.0), generator)

    def forward(self, frames: Tensor) -> Tensor:
        """Map uint8 [..., channels, 84, 84] to [..., num_outputs].

        Raises:
            ValueError: when the frames have another size or type.
        """
        if frames.dtype != torch.uint8 or tuple(frames.shape[-2:]) != (84, 84):
            raise ValueError(f"frames: expected uint8 [..., channels, 84, 84], got {frames.dtype} {list(frames.shape)}")
        weight = next(self.parameters())
        flat = frames.reshape(-1, *frames.shape[-3:]).to(weight.dtype) / 255.0
        return self.layers(flat).view(*frames.shape[:-3], -1)


class RecurrentTorso(nn.Module):
    """Carries a memory along the steps of a row: an LSTM or GRU whose state starts anew where an episode does.

    Args:
        kind: "lstm" or "gru".
        num_inputs: size of the input's last dimension.
        num_outputs: size of the memory and of the output.
        generator: draws the weights; PyTorch's own when None.

    Raises:
        ValueError: when there is no such kind.

    Source: Hochreiter & Schmidhuber 1997 (Long short-term memory); Cho et al. 2014 (Learning phrase representations using RNN
    encoder-decoder).
    """

    def __init__(
        self, kind: Literal["lstm", "gru"], num_inputs: int, num_outputs: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if kind not in ("lstm", "gru"):
            raise ValueError(f"kind: expected lstm or gru, got {kind!r}")
        self.cell: nn.LSTM | nn.GRU = (nn.LSTM if kind == "lstm" else nn.GRU)(num_inputs, num_outputs, batch_first=True)
        self.names = ("hidden", "cell") if kind == "lstm" else ("hidden",)
        initialise_orthogonal(self.cell, 1.0, generator)

    def initial_state(self, batch_size: int) -> State:
        """Give zeros [B, num_outputs] for each part of the memory."""
        weight = next(self.parameters())
        return {name: weight.new_zeros(batch_size, self.cell.hidden_size) for name in self.names}

    def forward(self, x: Tensor, state: State, restart: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over [B, T, num_inputs].

        Args:
            x: inputs; T may be 1.
            state: leaves [B, num_outputs], the memory before the first step.
            restart: [B, T] bool, True where the memory is emptied before the step (see `restarts`); nowhere when None.

        Returns:
            ([B, T, num_outputs] outputs, the memory after the last step).

        Raises:
            ValueError: when restart has another shape.
        """
        num_steps = x.shape[1]
        if restart is None:
            return self._run(x, state)
        if restart.shape != x.shape[:2]:
            raise ValueError(f"restart: expected shape {list(x.shape[:2])} like x, got {list(restart.shape)}")
        # Only the steps where some row restarts break the fused kernel's run.
        starts = sorted({0, *restart.any(dim=0).nonzero().flatten().tolist()})
        outputs: list[Tensor] = []
        for start, stop in zip(starts, [*starts[1:], num_steps], strict=True):
            state = {name: leaf.masked_fill(restart[:, start, None], 0.0) for name, leaf in state.items()}
            output, state = self._run(x[:, start:stop], state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        leaves = tuple(state[name].unsqueeze(0) for name in self.names)
        output, last = self.cell(x.contiguous(), leaves if len(leaves) > 1 else leaves[0])
        parts = last if isinstance(last, tuple) else (last,)
        return output, {name: part.squeeze(0) for name, part in zip(self.names, parts, strict=True)}


def restarts(mask: Tensor) -> Tensor:
    """Mark the steps before which `seqrl.rollout.unroll` emptied a recurrent memory: those after an inactive step.

    Args:
        mask: [B, T] bool, a trajectory's mask without forced steps.

    Returns:
        [B, T] bool; False in the first column, whose memory is the trajectory's `state0`.
    """
    return F.pad(~mask[:, :-1], [1, 0])


def categorical_sample(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw an index with probability softmax(logits): [..., N] to long [...]."""
    probability = logits.detach().float().softmax(dim=-1)
    return torch.multinomial(probability.reshape(-1, logits.shape[-1]), 1, generator=generator).view(logits.shape[:-1])


def categorical_logp(logits: Tensor, action: Tensor) -> Tensor:
    """Give the log-probability of indices, log softmax(logits)[action]: [..., N] and long [...] to [...], nats."""
    return logits.gather(-1, action.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)


def categorical_entropy(logits: Tensor) -> Tensor:
    """Give the entropy -Σ p log p: [..., N] to [...], nats; a logit of -inf (a forbidden action) adds nothing."""
    logp = logits.log_softmax(dim=-1)
    # The gradient of 0 * -inf would be NaN.
    return -(logp.exp() * logp.masked_fill(logp == -math.inf, 0.0)).sum(dim=-1)


def gaussian_sample(mean: Tensor, log_std: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw mean + e^log_std ε with ε normal: [..., D] and a shape that broadcasts to it; differentiable in both."""
    noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
    return mean + log_std.exp() * noise


def gaussian_logp(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Give Σ_d -½ ((a - mean)/std)² - log std - ½ log 2π: [..., D] to [...], nats."""
    z = (action - mean) * (-log_std).exp()
    return (-0.5 * z.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(dim=-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Give Σ_d log std + ½ log 2πe: [..., D] to [...], nats."""
    return (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum(dim=-1)


def tanh_log_slope(unsquashed: Tensor) -> Tensor:
    """Give Σ_d log(1 - tanh(u)²) = Σ_d 2 (log 2 - u - softplus(-2u)), exact for large |u| too: [..., D] to [...].

    Source: Haarnoja et al. 2018 (Soft actor-critic), appendix on enforcing action bounds.
    """
    return (2.0 * (math.log(2.0) - unsquashed - F.softplus(-2.0 * unsquashed))).sum(dim=-1)


def tanh_gaussian_logp(mean: Tensor, log_std: Tensor, unsquashed: Tensor) -> Tensor:
    """Give the log-density of the action tanh(u), log N(u) - Σ_d log(1 - tanh(u)²): [..., D] to [...], nats.

    Keep u, drawn with `gaussian_sample`, as the trajectory's action and squash it on the way to the environment: near the
    limits an action no longer tells its u.

    Source: Haarnoja et al. 2018 (Soft actor-critic), appendix on enforcing action bounds.
    """
    return gaussian_logp(mean, log_std, unsquashed) - tanh_log_slope(unsquashed)


def tanh_gaussian_entropy(log_std: Tensor, unsquashed: Tensor) -> Tensor:
    """Estimate the entropy of tanh(u) from one sample of u, Gaussian entropy + Σ_d log(1 - tanh(u)²), without bias: [..., D] to [...]."""
    return gaussian_entropy(log_std) + tanh_log_slope(unsquashed)
