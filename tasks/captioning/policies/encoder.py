"""Image encoders: a picture becomes a grid of region features and one pooled feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.trajectory import Tree


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, [N, C, H, W], so that no image depends on the batch it is in."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in channels-last memory both permutations are free."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + W2 gelu(W1 norm(depthwise(x))), the ConvNeXt block.

    Source: Liu et al. 2022 (A ConvNet for the 2020s), the block design.
    Differs from: kernel 5 instead of 7 and expansion 2 instead of 4, for small images; no layer scale.

    Args:
        width: channels.
        kernel_size: of the depthwise convolution, pixels.
        expansion: hidden channels over channels.
    """

    def __init__(self, width: int, *, kernel_size: int = 5, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, width * expansion)
        self.narrow = nn.Linear(width * expansion, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        # Depthwise convolutions gain nothing from bf16, and on a CPU their backward pass takes twice as long.
        with torch.autocast(x.device.type, enabled=False):
            spatial = self.spatial(x.float())
        hidden = self.norm(spatial.permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.widen(hidden))).permute(0, 3, 1, 2)


class ConvolutionalEncoder(nn.Module):
    """A small convolutional network without batch statistics: sampling and training see the same features.

    A stem, then one stage per width, each after the first with stride 2.

    Args:
        image_size: side of the square images, pixels.
        widths: channels of each stage; the last one is the feature size D.
        blocks: residual blocks of each stage.
        stem_stride: of the first convolution, pixels; its kernel is twice as wide. Small things need 2.

    Raises:
        ValueError: when the stages do not fit the image or each other.
    """

    def __init__(self, image_size: int, *, widths: Sequence[int], blocks: Sequence[int], stem_stride: int = 4) -> None:
        super().__init__()
        stride = stem_stride * 2 ** (len(widths) - 1)
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"blocks: expected one number for each of the widths {list(widths)}, got {list(blocks)}")
        if image_size % stride:
            raise ValueError(f"image_size: expected a multiple of {stride} for {len(widths)} stages, got {image_size}")
        self.feature_dim = widths[-1]
        self.num_regions = (image_size // stride) ** 2
        layers, before = list[nn.Module](), 3
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            kernel_size, step, padding = (3, 2, 1) if stage else (2 * stem_stride, stem_stride, stem_stride // 2)
            layers += [nn.Conv2d(before, width, kernel_size, stride=step, padding=padding), ChannelNorm(width), nn.GELU()]
            layers += [ResidualBlock(width) for _ in range(count)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.position = nn.Parameter(torch.randn(self.num_regions, self.feature_dim) * 0.02)
        self.norm = nn.LayerNorm(self.feature_dim)

    def forward(self, images: Tensor) -> Tree:
        """Encode uint8 images [N, 3, S, S] as `regions` [N, R, D] and `pooled` [N, D]."""
        features = self.layers(normalise(images).contiguous(memory_format=torch.channels_last))
        regions = self.norm(features.flatten(2).transpose(1, 2)) + self.position
        return {"regions": regions, "pooled": regions.mean(dim=1)}


class PatchEncoder(nn.Module):
    """Cuts the image into patches and lets a pre-norm transformer relate them.

    Source: Dosovitskiy et al. 2021 (An image is worth 16x16 words).
    Differs from: no class token; the pooled feature is the regions' mean, as for the convolutional encoder.

    Args:
        image_size: side of the square images, pixels.
        patch_size: side of a patch, pixels.
        dim: feature size D.
        num_layers: transformer layers.
        num_heads: attention heads.

    Raises:
        ValueError: when patches do not tile the image.
    """

    def __init__(self, image_size: int, *, patch_size: int = 8, dim: int = 128, num_layers: int = 2, num_heads: int = 4) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size: expected a multiple of the patch size {patch_size}, got {image_size}")
        self.feature_dim = dim
        self.num_regions = (image_size // patch_size) ** 2
        self.patches = nn.Conv2d(3, dim, patch_size, stride=patch_size)
        self.position = nn.Parameter(torch.randn(self.num_regions, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, num_heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tree:
        """Encode uint8 images [N, 3, S, S] as `regions` [N, R, D] and `pooled` [N, D]."""
        regions = self.patches(normalise(images)).flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            regions = layer(regions)
        regions = self.norm(regions)
        return {"regions": regions, "pooled": regions.mean(dim=1)}


def normalise(images: Tensor) -> Tensor:
    """Map uint8 values 0..255 to -2..2: (x - 127.5) / 63.75, close to unit deviation on photographs.

    Raises:
        ValueError: when the images are no uint8 [N, 3, S, S].
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected uint8 [N, 3, S, S], got {images.dtype} {list(images.shape)}")
    return images.float().sub_(127.5).div_(63.75)


def build_encoder(preset: str, image_size: int) -> nn.Module:
    """Make the encoder of a preset: "scenes" (made for 64x64), "photographs" (made for 128x128) or "patches".

    Raises:
        ValueError: when there is no such preset.
    """
    if preset == "scenes":
        return ConvolutionalEncoder(image_size, widths=(32, 64, 128), blocks=(0, 1, 2), stem_stride=2)
    if preset == "photographs":
        return ConvolutionalEncoder(image_size, widths=(64, 96, 192), blocks=(0, 2, 3))
    if preset == "patches":
        return PatchEncoder(image_size)
    raise ValueError(f"encoder: expected scenes, photographs or patches, got {preset!r}")
