"""The retina: square glimpses of several sizes around a place, cut out of a whole batch of images at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PreparedImages:
    """Images in the form that glimpses are cut from, made once for all glimpses of a batch.

    Attributes:
        flat: all images one after the other: with one scale the grey levels, with a border of zeros; with several the integral
            images, whose entry (y, x) is the sum of all grey levels above and to the left of pixel (y, x).
        first: [N] entry of `flat` at the upper left corner of each image.
        height: of an image, pixels, without its border.
        width: the same.
        row_size: entries of `flat` from one row of an image to the next.
        window: where the entries of a glimpse lie.
        areas: [S, 1, 1] what a sum at each scale is multiplied with to give a mean in 0..1.
    """

    flat: Tensor
    first: Tensor
    height: int
    width: int
    row_size: int
    window: Tensor
    areas: Tensor


class Retina:
    """Cuts glimpses: scale k shows size·2^k pixels square around a place, averaged over squares of 2^k to size x size.

    A location is (x, y) in [-1, 1]²: (-1, -1) is the upper left corner of the image and (1, 1) the lower right one; what is
    further away is taken to the border. The glimpse's centre is the whole pixel nearest to it. What lies outside of the image
    is 0. A glimpse has no derivative by its location, so none is given.

    The mean over a square comes from four entries of an integral image, so that a coarse scale costs as much as a fine one.

    Args:
        size: g, pixels of a glimpse's side, and of the finest scale.
        num_scales: S.

    Raises:
        ValueError: when one of them is below 1.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 3.1; integral images: Viola & Jones 2001 (Rapid
    object detection using a boosted cascade of simple features), section 2.1.
    Differs from: the paper, which does not say how a place between pixels is meant, nor how the coarser scales are resampled.
    """

    def __init__(self, size: int, num_scales: int = 1) -> None:
        if size < 1 or num_scales < 1:
            raise ValueError(f"glimpse size and scales: expected at least 1 each, got {size} and {num_scales}")
        self.size, self.num_scales = size, num_scales

    @property
    def num_outputs(self) -> int:
        """Numbers in a glimpse, S·g²."""
        return self.num_scales * self.size**2

    @property
    def extents(self) -> list[int]:
        """Pixels of the image that each scale covers along a side."""
        return [self.size << scale for scale in range(self.num_scales)]

    def check(self, height: int, width: int) -> None:
        """Refuse images in which the finest scale has no room.

        Raises:
            ValueError: saying so.
        """
        if self.size > min(height, width):
            raise ValueError(
                f"glimpse_size: expected at most the image's {min(height, width)} pixels, got {self.size} for images of "
                f"{height}x{width}; choose a smaller glimpse or a larger canvas"
            )

    def cut(self, images: Tensor, location: Tensor) -> Tensor:
        """Cut one glimpse out of each image.

        Args:
            images: [B, H, W] uint8.
            location: [B, 2] float.

        Returns:
            [B, S·g²] float32 in 0..1, the finest scale first.

        Raises:
            ValueError: when a shape or type is wrong, or the glimpse is larger than the images.
        """
        return self.cut_prepared(self.prepare(images), location)

    def prepare(self, images: Tensor) -> PreparedImages:
        """Do what is done once for all glimpses of some images.

        Args:
            images: [N, H, W] uint8.

        Raises:
            ValueError: when a shape or type is wrong, or the glimpse is larger than the images.
        """
        if images.ndim != 3 or images.dtype != torch.uint8:
            raise ValueError(f"images: expected uint8 [N, H, W], grey levels of one channel, got {images.dtype} {list(images.shape)}")
        number, height, width = images.shape
        self.check(height, width)
        if self.num_scales > 1:
            flat = _integral(images)
        else:
            border = self.size // 2 + 1
            flat = torch.nn.functional.pad(images, (border, border, border, border))
        row_size, image_size = flat.shape[2], flat.shape[1] * flat.shape[2]
        # With one scale, places are counted from the image's own corner, behind its border.
        offset = (self.size // 2 + 1) * (row_size + 1) if self.num_scales == 1 else 0
        first = torch.arange(offset, offset + number * image_size, image_size, device=images.device)
        areas = torch.tensor([1.0 / (255 * 4**scale) for scale in range(self.num_scales)], device=images.device).view(-1, 1, 1)
        return PreparedImages(flat.flatten(), first, height, width, row_size, self._window(row_size).to(images.device), areas)

    def cut_prepared(self, prepared: PreparedImages, location: Tensor, image: Tensor | None = None) -> Tensor:
        """Cut one glimpse for each location; see `cut`.

        Args:
            prepared: of N images.
            location: [B, 2] float.
            image: [B] long, which image each location belongs to; the first to the first and so on when None.

        Raises:
            ValueError: when the shapes do not fit.
        """
        first = prepared.first if image is None else prepared.first[image]
        if tuple(location.shape) != (first.shape[0], 2):
            raise ValueError(f"location: expected shape {[first.shape[0], 2]}, one (x, y) a row, got {list(location.shape)}")
        start = self.corners(location, prepared.height, prepared.width)
        return self._plain(prepared, first, start) if self.num_scales == 1 else self._pyramid(prepared, first, start)

    def corners(self, location: Tensor, height: int, width: int) -> Tensor:
        """Give the pixel (x, y) of the finest scale's upper left corner, [B, 2] long, which may lie outside of the image.

        Args:
            location: [B, 2] float.
            height: of the image, pixels.
            width: the same.
        """
        limits = location.clamp(-1.0, 1.0)
        if width == height:
            return limits.add_(1.0 - self.size / width).mul_(0.5 * width).round_().long()
        extent = torch.tensor([width, height], dtype=location.dtype, device=location.device)
        return ((limits + 1.0) * (0.5 * extent) - 0.5 * self.size).round_().long()

    def _plain(self, prepared: PreparedImages, first: Tensor, start: Tensor) -> Tensor:
        """Gather the pixels themselves, as one scale asks for no averages."""
        corner = torch.add(first, start[:, 1], alpha=prepared.row_size).add_(start[:, 0])
        pixels = prepared.flat.index_select(0, (corner.unsqueeze(1) + prepared.window).flatten())
        return pixels.view(-1, self.size**2) * (1.0 / 255.0)

    def _pyramid(self, prepared: PreparedImages, first: Tensor, start: Tensor) -> Tensor:
        """Gather the integral image at the corners of all squares of all scales, and take differences.

        To take a corner outside of the image to its border is to count what lies outside as 0.
        """
        size, scales = self.size, self.num_scales
        x = (start[:, :1] + prepared.window).clamp_(0, prepared.width)
        y = (start[:, 1:] + prepared.window).clamp_(0, prepared.height).mul_(prepared.row_size).add_(first.unsqueeze(1))
        index = y.view(-1, scales, size + 1, 1) + x.view(-1, scales, 1, size + 1)
        sums = prepared.flat.index_select(0, index.flatten()).view_as(index)
        columns = sums[..., 1:] - sums[..., :-1]
        squares = columns[..., 1:, :] - columns[..., :-1, :]
        return torch.mul(squares, prepared.areas).flatten(1)

    def _window(self, row_size: int) -> Tensor:
        """Say where a glimpse's entries lie: single ones after the first, or those of each scale's grid along a side."""
        steps = torch.arange(self.size + 1)
        if self.num_scales == 1:
            return (steps[:-1].unsqueeze(1) * row_size + steps[:-1]).flatten()
        return torch.cat([(steps << scale) - (extent - self.size) // 2 for scale, extent in enumerate(self.extents)])


def _integral(images: Tensor) -> Tensor:
    """Sum [N, H, W] over all pixels above and to the left: whole numbers [N, H + 1, W + 1]."""
    number, height, width = images.shape
    dtype = torch.int32 if 255 * height * width < 1 << 31 else torch.int64
    sums = torch.zeros(number, height + 1, width + 1, dtype=dtype, device=images.device)
    torch.cumsum(images.cumsum(dim=2, dtype=dtype), dim=1, dtype=dtype, out=sums[:, 1:, 1:])
    return sums
