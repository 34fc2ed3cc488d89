"""Networks that control policies are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.convolutions import EncoderPrecision, dtype_of, encode_frames, prepare_weights, serves

FRAME_SIZE = (84, 84)
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
        hidden_gain: scale of the other layers' weights.
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
        hidden_gain: float = math.sqrt(2.0),
        output_gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = [num_inputs, *hidden_sizes, num_outputs]
        self.layers = nn.ModuleList(nn.Linear(here, there) for here, there in zip(sizes[:-1], sizes[1:], strict=True))
        self.activation = activation
        for index, layer in enumerate(self.layers):
            initialise_orthogonal(layer, output_gain if index == len(hidden_sizes) else hidden_gain, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs]."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        output: Tensor = last(x)
        return output


class NatureCNN(nn.Module):
    """Encodes stacked 84x84 game frames with the three convolutions and the linear layer of the Nature DQN.

    The layers are those of `layers`. While they are the network's own, `seqrl.policies.convolutions` does their work on a CPU: one part of
    the batch a thread, in `precision`, with the derivative written out. Changed layers, and `optimiser.fused: off`, go the plain way.
    What comes out is always in the weights' own dtype.

    Args:
        num_channels: number of stacked frames.
        num_outputs: size of the code.
        precision: dtype of the inner layers; "auto" is fp32 here, see `seqrl.policies.convolutions.dtype_of`.
        generator: draws the weights; PyTorch's own when None.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods (model architecture).
    """

    def __init__(
        self,
        num_channels: int = 4,
        num_outputs: int = 512,
        *,
        precision: EncoderPrecision = "fp32",
        generator: torch.Generator | None = None,
    ) -> None:
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
        self.num_outputs = num_outputs
        self.dtype, self.may_be_fused = dtype_of(precision), True
        self._prepared: list[Tensor] | None = None
        initialise_orthogonal(self.layers, math.sqrt(2.0), generator)

    def forward(self, frames: Tensor) -> Tensor:
        """Map uint8 [..., channels, 84, 84], or faster [..., 84, 84, channels], to [..., num_outputs].

        Raises:
            ValueError: when the frames have another size or type.
        """
        if frames.dtype != torch.uint8 or not frame_channels(frames.shape[-3:]):
            raise ValueError(f"frames: expected uint8 [..., channels, 84, 84], got {frames.dtype} {list(frames.shape)}")
        leading = frames.shape[:-3]
        if tuple(frames.shape[-2:]) == FRAME_SIZE:
            frames = frames.movedim(-3, -1)
        flat = frames.reshape(-1, *frames.shape[-3:])
        if self.may_be_fused and serves(self.layers):
            return encode_frames(flat, list(self.layers.parameters()), self.dtype, self._prepared).view(*leading, -1)
        weight = next(self.layers.parameters())
        pictures = flat.to(weight.device).permute(0, 3, 1, 2).to(weight.dtype) / 255.0
        automatic = torch.is_autocast_enabled(weight.device.type)
        with nullcontext() if automatic else torch.autocast(weight.device.type, self.dtype, enabled=self.dtype != weight.dtype):
            return self.layers(pictures).to(weight.dtype).view(*leading, -1)  # type: ignore[no-any-return]

    @property
    def how_it_runs(self) -> str:
        """A line about which way its frames take."""
        reason = "optimiser.fused is off" if not self.may_be_fused else "" if serves(self.layers) else "its layers were changed"
        fused = "the way of seqrl/policies/convolutions.py, a thread for each part of a batch, on a CPU"
        return f"the Nature CNN's frames go {f'layer by layer: {reason}' if reason else fused}"

    @contextmanager
    def constant_weights(self) -> Iterator[None]:
        """Copy the weights into the inner layers' format only once; until it ends they must not change."""
        self._prepared = prepare_weights(list(self.layers.parameters()), self.dtype)
        try:
            yield
        finally:
            self._prepared = None


def frame_channels(shape: Sequence[int]) -> int:
    """Give the number of stacked 84x84 frames in an observation, channels first or last; 0 where it is something else.

    Args:
        shape: of one observation.
    """
    if len(shape) != 3:
        return 0
    return shape[0] if tuple(shape[1:]) == FRAME_SIZE else shape[2] if tuple(shape[:2]) == FRAME_SIZE else 0


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

    def replay(self, x: Tensor, state: State, restart: Tensor) -> Tensor:
        """Give `forward`'s outputs alone, several times as fast where rows restart: all episodes run side by side.

        Args:
            x: [B, T, num_inputs].
            state: leaves [B, num_outputs], the memory before the first step.
            restart: [B, T] bool, True where the memory is emptied before the step.
        """
        if not bool(restart.any()):
            return self._run(x, state)[0]
        num_rows, num_steps = restart.shape
        begins = restart.clone()
        begins[:, 0] = True
        place = begins.flatten().nonzero().flatten()  # row by row, so that the episodes one after another are the rows again
        length = place.diff(append=place.new_tensor([num_rows * num_steps]))
        inside = torch.arange(int(length.max()), device=x.device) < length.unsqueeze(1)
        episodes = x.new_zeros(*inside.shape, x.shape[-1])
        episodes[inside] = x.flatten(0, 1)
        empty = restart.flatten()[place] | (place % num_steps > 0)
        before = {name: leaf[place // num_steps].masked_fill(empty.unsqueeze(1), 0.0) for name, leaf in state.items()}
        return self._run(episodes, before)[0][inside].view(num_rows, num_steps, -1)

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        leaves = tuple(state[name].unsqueeze(0) for name in self.names)
        output, last = run_recurrent(self.cell, x.contiguous(), leaves if len(leaves) > 1 else leaves[0])
        parts = last if isinstance(last, tuple) else (last,)
        return output, {name: part.squeeze(0) for name, part in zip(self.names, parts, strict=True)}


def run_recurrent(layer: nn.LSTM | nn.GRU, x: Any, before: Any = None) -> Any:
    """Run a recurrent layer that has no dropout of its own, in training mode, which changes none of its numbers.

    cuDNN gives derivatives in training mode alone, and the updates of reinforcement run in evaluation mode.

    Args:
        layer: of torch.
        x: its input.
        before: its state before the first step; zeros when None.
    """
    assert not layer.dropout, "a layer that drops computes something else in training mode"
    return layer.train()(x, before)


def restarts(mask: Tensor) -> Tensor:
    """Mark the steps before which `seqrl.rollout.unroll` emptied a recurrent memory: active ones after an inactive one.

    Args:
        mask: [B, T] bool, a trajectory's mask without forced steps.

    Returns:
        [B, T] bool; False in the first column, whose memory is the trajectory's `state0`.
    """
    return F.pad(mask[:, 1:] & ~mask[:, :-1], [1, 0])
