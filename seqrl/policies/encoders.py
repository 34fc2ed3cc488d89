"""From what an environment shows to features: dtypes, running normalisation, layers and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributed import gather
from seqrl.policies.networks import MLP, Activation, NatureCNN, RecurrentTorso, frame_channels
from seqrl.policies.pictures import Picture, PictureEncoder, other_numbers
from seqrl.trajectory import Tree

Memory = Literal["none", "lstm", "gru"]
NORMALISED_LIMIT = 10.0


@dataclass(frozen=True)
class ObservationSize:
    """What one observation looks like.

    Attributes:
        shape: of one observation; () where it is a number.
        num_categories: how many different numbers there are, where it is one; 0 otherwise.
        frames: whether it is a stack of game frames, uint8 [channels, 84, 84], for the Nature CNN.
        pictures: other pictures in it, see `seqrl.policies.pictures`.
        num_stacked: how many observations one shows, along a first axis of their own; told only where there are pictures.
        own_encoder: makes the user's own encoder of whole observations, a module with `num_outputs`, from a generator.
    """

    shape: tuple[int, ...]
    num_categories: int = 0
    frames: bool = False
    pictures: tuple[Picture, ...] = ()
    num_stacked: int = 1
    own_encoder: Callable[[torch.Generator | None], nn.Module] | None = None

    def __post_init__(self) -> None:
        if self.pictures and (self.frames or self.num_categories):
            raise ValueError("pictures: expected none beside frames or categories")
        if self.frames and not frame_channels(self.shape):
            raise ValueError(f"frames: expected observations of shape [channels, 84, 84], got {list(self.shape)}")
        if self.num_categories and self.shape:
            raise ValueError(f"num_categories: expected a single number an observation, got shape {list(self.shape)}")

    @property
    def num_inputs(self) -> int:
        """Size of an observation once it is flat."""
        return self.num_categories or math.prod(self.shape)

    @property
    def convolved(self) -> bool:
        """Whether convolutions, or the user's own encoder, encode it as it is."""
        return self.frames or bool(self.pictures) or self.own_encoder is not None

    @property
    def num_numbers(self) -> int:
        """Numbers of a single one of the observations that are stacked, pictures included."""
        return math.prod(self.shape) // self.num_stacked

    def convolutional_encoder(
        self, code_size: int, hidden_sizes: Sequence[int], activation: Activation, generator: torch.Generator | None = None
    ) -> Any:
        """Make what encodes it, activation included; `num_outputs` of it is the code size, behind several parts the last hidden one.

        Args:
            code_size: outputs for each picture.
            hidden_sizes: of the layers behind several parts.
            activation: of these layers.
            generator: draws the weights; PyTorch's own when None.
        """
        if self.own_encoder is not None:
            return self.own_encoder(generator)
        if self.frames:
            return NatureCNN(frame_channels(self.shape), code_size, generator=generator)
        return PictureEncoder(
            self.shape, self.pictures, self.num_numbers, code_size, hidden_sizes, activation=activation, generator=generator
        )


class RunningNorm(nn.Module):
    """Scales each input by its mean and deviation so far: clip((x - mean) / √(variance + 1e-8), -10, 10).

    What `observe` sees counts from the next `fold` on. A trainer's update thereby sees its observations exactly as they were
    seen when the actions were chosen, although the rollout itself has been observed already. Everything is in buffers, which
    are saved with the weights: a resumed run and an evaluation normalise as the run did.

    Args:
        num_inputs: size of the last dimension.

    Source: Engstrom et al. 2020 (Implementation matters in deep policy gradients), observation normalisation; sums: Chan, Golub &
    LeVeque 1983 (Algorithms for computing the sample variance), the update for two samples.
    Differs from: common code, which changes the statistics at every step, so that an update sees other inputs than the rollout.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    new_mean: Tensor
    new_variance: Tensor
    new_count: Tensor

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        for prefix in ("", "new_"):
            self.register_buffer(f"{prefix}mean", torch.zeros(num_inputs))
            self.register_buffer(f"{prefix}variance", torch.ones(num_inputs))
            self.register_buffer(f"{prefix}count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Scale [..., num_inputs]."""
        scaled = (x - self.mean) * (self.variance + 1e-8).rsqrt()
        return scaled.clamp(-NORMALISED_LIMIT, NORMALISED_LIMIT)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Look at inputs [N, num_inputs] of this and all other processes, to be counted from the next `fold` on."""
        moments = x.new_zeros(3, x.shape[1])
        if x.shape[0]:
            moments[1], moments[0] = torch.var_mean(x, dim=0, correction=0)
            moments[2] = x.shape[0]
        # Processes that counted their own alone would each learn another policy.
        for mean, variance, count in gather(moments):
            if float(count[0]):
                self._merge("new_", mean, variance, count[0])

    @torch.no_grad()
    def fold(self) -> None:
        """Count what has been observed since the last time."""
        if float(self.new_count):
            self._merge("", self.new_mean, self.new_variance, self.new_count)
            self.new_count.zero_()

    def _merge(self, prefix: str, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Take the moments of another sample into those of a prefix, n = n₁ + n₂:

        mean = mean₁ + (mean₂ - mean₁) n₂/n,  n var = n₁ var₁ + n₂ var₂ + (mean₂ - mean₁)² n₁ n₂/n
        """
        my_mean, my_variance, my_count = (cast(Tensor, getattr(self, prefix + name)) for name in ("mean", "variance", "count"))
        share = count / (my_count + count)
        shift = mean - my_mean
        my_variance.mul_(1 - share).add_(share * variance + (1 - share) * share * shift.square())
        my_mean.add_(share * shift)
        my_count.add_(count)


class Inputs(nn.Module):
    """Brings observations into the form that layers take: flat numbers, one-hot categories, or frames and pictures as they are.

    Args:
        size: see `ObservationSize`.
        normalise: scale flat numbers, or those beside pictures, by their running mean and deviation, see `RunningNorm`.

    Raises:
        ValueError: when nothing but categories, frames or pictures is to be normalised.
    """

    like: Tensor
    other: Tensor

    def __init__(self, size: ObservationSize, *, normalise: bool = False) -> None:
        super().__init__()
        num_others = size.num_inputs
        if size.pictures:
            once = other_numbers(size.num_numbers, size.pictures)
            self.register_buffer("other", torch.cat([once + k * size.num_numbers for k in range(size.num_stacked)]), persistent=False)
            num_others = len(self.other)
        if normalise and (size.num_categories or size.frames or size.own_encoder or not num_others):
            raise ValueError(
                "normalise_observations: expected observations of real numbers, got categories or pictures, or what an encoder of one's "
                "own reads; switch it off"
            )
        self.size = size
        self.norm = RunningNorm(num_others) if normalise else None
        # Follows the weights to their device and dtype.
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        """Map [..., *shape] to [..., num_inputs], or keep frames and pictures as they are, where the weights are."""
        if self.size.convolved:
            obs = obs.to(self.like.device)
            return obs if self.norm is None else self._beside_pictures(obs, self.norm)
        if self.size.num_categories:
            return F.one_hot(obs.to(self.like.device), self.size.num_categories).to(self.like)
        flat = obs.to(self.like)
        if len(self.size.shape) != 1:
            flat = flat.reshape(*obs.shape[: obs.ndim - len(self.size.shape)], -1)
        return flat if self.norm is None else self.norm(flat)

    def observe(self, obs: Tensor, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, *shape] where mask [B, T] counts, see `RunningNorm.observe`."""
        if self.norm is not None:
            seen = obs[:, :-1][mask.to(obs.device)]
            seen = seen.reshape(seen.shape[0], -1)
            self.norm.observe((seen[:, self.other.to(seen.device)] if self.size.pictures else seen).to(self.norm.mean))

    def _beside_pictures(self, obs: Tensor, norm: RunningNorm) -> Tensor:
        """Normalise the numbers that are in no picture."""
        flat = obs.to(self.like, copy=True).reshape(*obs.shape[: obs.ndim - len(self.size.shape)], -1)
        flat[..., self.other] = norm(flat[..., self.other])
        return flat.view(obs.shape)


class Trunk(nn.Module):
    """Encodes inputs and, where asked, carries a memory along the steps.

    Frames go through the Nature CNN, pictures through a `PictureEncoder`, other inputs through layers that all end in the activation.

    Args:
        size: see `ObservationSize`.
        hidden_sizes: of the layers; of frames or a picture alone they are not used.
        memory: "lstm", "gru" or "none".
        memory_size: units of it.
        code_size: outputs of the convolutions.
        activation: elementwise function.
        gain: of the orthogonal initial weights.
        generator: draws the weights; PyTorch's own when None.
    """

    def __init__(
        self,
        size: ObservationSize,
        hidden_sizes: Sequence[int],
        memory: Memory,
        memory_size: int,
        *,
        code_size: int = 512,
        activation: Activation,
        gain: float = math.sqrt(2.0),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.encoder: nn.Module
        if size.convolved:
            self.encoder = encoder = size.convolutional_encoder(code_size, hidden_sizes, activation, generator)
            last = encoder.num_outputs
        else:
            *layers, last = hidden_sizes
            self.encoder = MLP(
                size.num_inputs, layers, last, activation=activation, hidden_gain=gain, output_gain=gain, generator=generator
            )
        self.activation = None if size.convolved else activation  # convolutions end in one of their own
        self.memory = None if memory == "none" else RecurrentTorso(memory, last, memory_size, generator=generator)
        self.num_outputs = last if self.memory is None else memory_size

    def forward(self, x: Tensor, state: Tree = None, restart: Tensor | None = None) -> tuple[Tensor, Tree]:
        """Map inputs to features.

        Args:
            x: [..., num_inputs], frames or pictures; [B, T, ...] with a memory.
            state: the memory before the first step; empty when None.
            restart: [B, T] where it is emptied before the step, see `seqrl.policies.networks.restarts`; for steps that are over.

        Returns:
            ([..., num_outputs], the memory after the last step; None without one, or with `restart`).
        """
        code = self.encoder(x)
        if self.activation is not None:
            code = self.activation(code)
        if self.memory is None:
            return code, None
        before = self.memory.initial_state(code.shape[0]) if state is None else cast("dict[str, Tensor]", state)
        return self.memory(code, before) if restart is None else (self.memory.replay(code, before, restart), None)


class TrunkAndHead(nn.Module):
    """A trunk of its own under a head, for an actor and a critic that share nothing.

    Args:
        trunk: see `Trunk`.
        head: takes the trunk's features.
    """

    def __init__(self, trunk: Trunk, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor, state: Tree = None, restart: Tensor | None = None) -> tuple[Tensor, Tree]:
        """Map inputs to the head's outputs; arguments and the memory given back as in `Trunk`."""
        features, after = self.trunk(x, state, restart)
        return self.head(features), after
