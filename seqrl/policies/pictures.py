"""Pictures of any size in what an environment shows, alone or beside numbers: where they are, and the convolutions that encode them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqrl.policies.networks import MLP, Activation, initialise_orthogonal

# From this side on the first convolution strides over 4 pixels at once, as that of the Nature network does.
LARGE_SIDE = 64
LARGEST_CODE_SIDE = 7
# Of a picture's codes beside numbers. Adam moves every weight by as much, so that hundreds of codes would drown a few numbers.
PICTURES_SHARE = 0.1


@dataclass(frozen=True)
class Picture:
    """One picture in an observation.

    Attributes:
        shape: [H, W], [C, H, W] or [H, W, C], or one of the last two behind an axis of earlier frames. The channels are the
            shorter one of the outer axes.
        start: where its numbers begin in the observation's row of numbers.
        scale: its brightest number.
    """

    shape: tuple[int, ...]
    start: int = 0
    scale: float = 255.0

    @property
    def channels_first(self) -> bool:
        """Whether the channels stand before height and width."""
        return len(self.shape) > 2 and self.shape[-3] < self.shape[-1]

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.shape[-2:] if len(self.shape) == 2 or self.channels_first else self.shape[-3:-1]
        return height, width

    @property
    def num_numbers(self) -> int:
        """How many numbers it is made of."""
        return math.prod(self.shape)

    @property
    def num_channels(self) -> int:
        """Channels of all its frames."""
        return self.num_numbers // math.prod(self.height_width)

    def cut(self, rows: Tensor) -> Tensor:
        """Take the picture out of rows of numbers.

        Args:
            rows: [N, K, numbers], K observations one after another.

        Returns:
            [N, K * channels, H, W], of the rows' type.
        """
        part = rows[..., self.start : self.start + self.num_numbers].reshape(*rows.shape[:2], *self.shape)
        if len(self.shape) == 2:
            return part
        part = part.reshape(rows.shape[0], -1, *self.shape[-3:])
        return (part if self.channels_first else part.movedim(-1, 2)).flatten(1, 2)

    def shift(self, rows: Tensor, by: Tensor) -> None:
        """Move the picture inside of rows of numbers, in place; pixels at the border are repeated.

        Args:
            rows: [B, ..., numbers], contiguous.
            by: [B, 2] int64, pixels down and to the right.

        Source: Kostrikov et al. 2020 (Image augmentation is all you need), section 3.1.
        """
        part = rows[..., self.start : self.start + self.num_numbers].unflatten(-1, self.shape)
        height, width = self.height_width
        axis = -2 if len(self.shape) == 2 or self.channels_first else -3
        for row, (down, right) in zip(part, by.tolist(), strict=True):
            above = (torch.arange(height, device=rows.device) - down).clamp(0, height - 1)
            left = (torch.arange(width, device=rows.device) - right).clamp(0, width - 1)
            row.copy_(row.index_select(axis, above).index_select(axis + 1, left))


class PictureEncoder(nn.Module):
    """Encodes pictures by convolutions, and numbers beside them by a layer of their own: f(W [codes / 10; f(V numbers)]).

    The convolutions halve the sides until 7 pixels are left. A picture alone ends in its code; several parts go through further
    layers.

    Args:
        shape: of one observation; its last axes hold the `num_numbers` of the parts, the first one, if any, earlier observations.
        pictures: at least one.
        num_numbers: of a single observation, pictures included.
        code_size: outputs for each picture, and for the numbers together.
        hidden_sizes: of the layers behind several parts.
        activation: f, elementwise, of the numbers' layers.
        generator: draws the weights; PyTorch's own when None.
    """

    other: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        pictures: Sequence[Picture],
        num_numbers: int,
        code_size: int,
        hidden_sizes: Sequence[int],
        *,
        activation: Activation = torch.relu,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.shape, self.pictures = tuple(shape), tuple(pictures)
        self.num_numbers, self.num_stacked = num_numbers, math.prod(shape) // num_numbers
        self.convolutions = nn.ModuleList(_convolutions(picture, self.num_stacked, code_size, generator) for picture in pictures)
        self.register_buffer("other", other_numbers(num_numbers, pictures), persistent=False)
        num_others = self.num_stacked * len(self.other)
        gain = math.sqrt(2.0)
        self.numbers = MLP(num_others, [], code_size, output_gain=gain, generator=generator) if num_others else None
        self.num_outputs = width = code_size * (len(pictures) + bool(num_others))
        self.behind: MLP | None = None
        if width > code_size and hidden_sizes:
            *layers, self.num_outputs = hidden_sizes
            self.behind = MLP(width, layers, self.num_outputs, activation=activation, output_gain=gain, generator=generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Map [..., *shape] to [..., num_outputs]."""
        leading = obs.shape[: obs.ndim - len(self.shape)]
        rows = obs.reshape(-1, self.num_stacked, self.num_numbers)
        kind = next(self.convolutions.parameters()).dtype
        scaled = [each.cut(rows).to(kind, memory_format=torch.channels_last) / each.scale for each in self.pictures]
        codes = [layers(picture) for layers, picture in zip(self.convolutions, scaled, strict=True)]
        if self.numbers is not None:
            codes = [PICTURES_SHARE * code for code in codes]
            codes.append(self.activation(self.numbers(rows[..., self.other].flatten(1).to(kind))))
        code = codes[0] if len(codes) == 1 else torch.cat(codes, dim=-1)
        code = code if self.behind is None else self.activation(self.behind(code))
        return code.view(*leading, -1)


def other_numbers(num_numbers: int, pictures: Sequence[Picture]) -> Tensor:
    """Give the places, long [M], of the numbers of an observation that are in no picture."""
    free = torch.ones(num_numbers, dtype=torch.bool)
    for picture in pictures:
        free[picture.start : picture.start + picture.num_numbers] = False
    return free.nonzero().flatten()


def _convolutions(picture: Picture, num_stacked: int, code_size: int, generator: torch.Generator | None) -> nn.Sequential:
    """Make the layers from [N, channels, H, W] to [N, code_size]."""
    (height, width), channels = picture.height_width, num_stacked * picture.num_channels
    layers: list[nn.Module] = []

    def add(width_of_layer: int, kernel: int, stride: int, padding: int) -> None:
        nonlocal height, width, channels
        layers.extend([nn.Conv2d(channels, width_of_layer, kernel, stride, padding), nn.ReLU()])
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        channels = width_of_layer

    if min(height, width) >= LARGE_SIDE:
        add(32, 8, 4, 2)
    while max(height, width) > LARGEST_CODE_SIDE:
        add(64 if layers else 32, 3, 2, 1)
    add(64, 3, 1, 1)
    sequence = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, code_size), nn.ReLU())
    initialise_orthogonal(sequence, math.sqrt(2.0), generator)
    return sequence
