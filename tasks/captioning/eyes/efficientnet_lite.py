"""EfficientNet-Lite: a small convolutional network for images, from its published description."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_NORM_EPSILON = 1e-3
_STEM_WIDTH, HEAD_WIDTH = 32, 1280
_EXPANSION = 6


@dataclass(frozen=True)
class Scale:
    """How a version scales the first one: `width` times the channels and `depth` times the blocks of a stage, for `image_size` pixels."""

    width: float
    depth: float
    image_size: int


SCALES = {
    "efficientnet_lite0": Scale(1.0, 1.0, 224),
    "efficientnet_lite1": Scale(1.0, 1.1, 240),
    "efficientnet_lite2": Scale(1.1, 1.2, 260),
}
# Of each stage the number of blocks, the kernel's side, the stride and the number of channels.
_STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))


class ConvNorm(nn.Module):
    """A convolution padded as TensorFlow's SAME does it, batch normalisation, and min(max(x, 0), 6) unless it is `linear`.

    The output has ceil(side / stride) pixels; where the padding is odd, the larger half comes after the image.

    Args:
        channels: of what comes in and goes out.
        kernel_size: pixels.
        stride: pixels.
        depthwise: each channel sees itself only.
        linear: no activation follows.
    """

    def __init__(
        self, channels: tuple[int, int], kernel_size: int, *, stride: int = 1, depthwise: bool = False, linear: bool = False
    ) -> None:
        super().__init__()
        # With stride 1 both halves are equal, whatever the side.
        padding = kernel_size // 2 if stride == 1 else 0
        groups = channels[0] if depthwise else 1
        self.convolution = nn.Conv2d(*channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
        self.norm: Any = nn.BatchNorm2d(channels[1], eps=_NORM_EPSILON, momentum=0.01)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', ceil(H / stride), ceil(W / stride)]."""
        x = self.norm(self.convolution(self._padded(x)))
        return x if self.linear else F.relu6(x, inplace=True)

    def fold(self) -> None:
        """Multiply the normalisation by its running statistics into the convolution, which then has a bias; for inference."""
        self.convolution = fuse_conv_bn_eval(self.convolution.eval(), self.norm.eval())
        self.norm = nn.Identity()

    def _padded(self, x: Tensor) -> Tensor:
        kernel_size, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        if stride == 1:
            return x
        missing = [max((math.ceil(side / stride) - 1) * stride + kernel_size - side, 0) for side in (x.shape[3], x.shape[2])]
        return F.pad(x, [half for side in missing for half in (side // 2, side - side // 2)])


class InvertedResidual(nn.Module):
    """x + narrow(spatial(widen(x))): pointwise, depthwise, pointwise and linear; nothing is added where the shape changes.

    Source: Sandler et al. 2018 (MobileNetV2), section 3.3.

    Args:
        channels: of what comes in and goes out.
        kernel_size: of the depthwise convolution, pixels.
        stride: of the depthwise convolution, pixels.
        expansion: hidden channels over channels that come in; 1 for no widening.
    """

    def __init__(self, channels: tuple[int, int], kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels[0] * expansion
        self.widen = ConvNorm((channels[0], hidden), 1) if expansion > 1 else None
        self.spatial = ConvNorm((hidden, hidden), kernel_size, stride=stride, depthwise=True)
        self.narrow = ConvNorm((hidden, channels[1]), 1, linear=True)
        self.adds = stride == 1 and channels[0] == channels[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', ceil(H / stride), ceil(W / stride)]."""
        hidden = x if self.widen is None else self.widen(x)
        y = self.narrow(self.spatial(hidden))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Maps normalised images [N, 3, H, W] to a grid of features [N, 1280, H / 32, W / 32], sides rounded up.

    EfficientNet without squeeze-and-excitation and with ReLU6; stem and head are not scaled.

    Source: Tan and Le 2019 (EfficientNet), table 1; Liu 2020 (Higher accuracy on vision models with EfficientNet-Lite).

    Args:
        scale: of the version, see `SCALES`.
        num_classes: of the classifier on the mean of the grid, whose weights are told by their names and shapes; 0 for none.
    """

    def __init__(self, scale: Scale, *, num_classes: int = 0) -> None:
        super().__init__()
        self.stem = ConvNorm((3, _STEM_WIDTH), 3, stride=2)
        self.blocks = nn.Sequential(*_blocks(scale))
        self.head = ConvNorm((_scaled_width(_STAGES[-1][3], scale), HEAD_WIDTH), 1)
        self.classifier = nn.Linear(HEAD_WIDTH, num_classes) if num_classes else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the grid after the head."""
        return self.head(self.blocks(self.stem(pixels)))

    def fold(self) -> EfficientNetLite:
        """Fold every normalisation into its convolution; for inference, and not to be undone."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return self


def _blocks(scale: Scale) -> Iterator[InvertedResidual]:
    width_in = _STEM_WIDTH
    for number, (blocks, kernel_size, first_stride, channels) in enumerate(_STAGES):
        width = _scaled_width(channels, scale)
        # The first and the last stage are not deepened: they count as stem and head.
        repeats = blocks if number in (0, len(_STAGES) - 1) else math.ceil(blocks * scale.depth)
        for block in range(repeats):
            yield InvertedResidual((width_in, width), kernel_size, 1 if block else first_stride, _EXPANSION if number else 1)
            width_in = width


def _scaled_width(width: int, scale: Scale) -> int:
    """Round width times scale to a multiple of 8 that is not more than a tenth smaller."""
    wanted = width * scale.width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8
