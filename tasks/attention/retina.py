"""The retina: square glimpses of several sizes around a place, cut out of a whole batch of images at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.tasks.attention.retina_kernels import cut_plain, cut_pyramid, integrate


@dataclass(frozen=True)
class PreparedImages:
    """Images in the form that glimpses are cut from, made once for all glimpses of a batch.

    Attributes:
        table: with one scale the grey levels [N, H, W]; with several the integral images [N, H + 1, W + 1], whose entry (y, x) is the
            sum of all grey levels above and to the left of pixel (y, x).
        height: of an image, pixels.
        width: the same.
    """

    table: Tensor
    height: int
    width: int


class Retina:
    """Cuts glimpses: scale k shows size·2^k pixels square around a place, averaged over squares of 2^k to size x size.

    A location is (x, y) in [-1, 1]²: (-1, -1) is the upper left corner of the image and (1, 1) the lower right one; what is
    further away is taken to the border. The glimpse's centre is the whole pixel nearest to it. What lies outside of the image
    is 0. A glimpse has no derivative by its location, so none is given.

    The mean over a square comes from four entries of an integral image, so that a coarse scale costs as much as a fine one. For
    images in a processor's memory the loops are compiled; elsewhere all glimpses are gathered at once.

    Args:
        size: g, pixels of a glimpse's side, and of the finest scale.
        num_scales: S.

    Attributes:
        num_outputs: numbers in a glimpse, S·g².
        extents: pixels of the image that each scale covers along a side.

    Raises:
        ValueError: when one of them is below 1.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 3.1; integral images: Viola & Jones 2001 (Rapid
    object detection using a boosted cascade of simple features), section 2.1.
    Differs from: the paper, which does not say how a place between pixels is meant, nor how the coarser scales are resampled.
    """

    def __init__(self, size: int, num_scales: int = 1) -> None:
        if size < 1 or num_scales < 1:
            raise ValueError(f"glimpse size and scales: expected at least 1 each, got {size} and {num_scales}")
        self.size, self.num_scales, self.compiled = size, num_scales, True
        self.num_outputs = num_scales * size**2
        self.extents = [size << scale for scale in range(num_scales)]

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
        self.check(*images.shape[1:])
        return PreparedImages(integral_images(images) if self.num_scales > 1 else images.contiguous(), *images.shape[1:])

    def cut_prepared(self, prepared: PreparedImages, location: Tensor, image: Tensor | None = None) -> Tensor:
        """Cut one glimpse for each location; see `cut`.

        Args:
            prepared: of N images.
            location: [B, 2] float.
            image: [B] long, which image each location belongs to; the first to the first and so on when None.

        Raises:
            ValueError: when the shapes do not fit.
        """
        num_images, num_rows = prepared.table.shape[0], location.shape[0]
        if tuple(location.shape) != (num_rows, 2) or num_rows != (num_images if image is None else image.shape[0]):
            expected = num_images if image is None else image.shape[0]
            raise ValueError(f"location: expected shape {[expected, 2]}, one (x, y) a row, got {list(location.shape)}")
        image = torch.arange(num_rows, device=location.device) if image is None else image
        corner = self.corners(location, prepared.height, prepared.width)
        if location.device.type != "cpu" or not self.compiled:
            return self._gather(prepared, image, corner)
        glimpses = torch.empty(num_rows, self.num_outputs)
        cut = cut_plain if self.num_scales == 1 else cut_pyramid
        cut(prepared.table.numpy(), image.numpy(), corner.numpy(), self.size, glimpses.numpy())
        return glimpses

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

    def _gather(self, prepared: PreparedImages, image: Tensor, corner: Tensor) -> Tensor:
        """Do what the compiled loops do by one gather: of pixels, or of the corners of all squares of all scales.

        To take a corner outside of the image to its border is to count what lies outside as 0.
        """
        size, device = self.size, corner.device
        steps, rows = torch.arange(size + 1, device=device), prepared.table.shape[2]
        flat, first = prepared.table.flatten(), image.view(-1, 1, 1) * prepared.table[0].numel()
        if self.num_scales == 1:
            x, y = (corner[:, axis, None] + steps[:-1] for axis in (0, 1))
            inside = ((y >= 0) & (y < prepared.height)).unsqueeze(2) & ((x >= 0) & (x < prepared.width)).unsqueeze(1)
            index = first + (y.clamp(0, prepared.height - 1) * rows).unsqueeze(2) + x.clamp(0, prepared.width - 1).unsqueeze(1)
            return (flat[index] * inside * (1.0 / 255.0)).flatten(1)
        offset = torch.cat([(steps << scale) - (extent - size) // 2 for scale, extent in enumerate(self.extents)])
        x = (corner[:, :1] + offset).clamp_(0, prepared.width).view(-1, self.num_scales, 1, size + 1)
        y = (corner[:, 1:] + offset).clamp_(0, prepared.height).view(-1, self.num_scales, size + 1, 1)
        sums = flat[first.unsqueeze(3) + y * rows + x]
        columns = sums[..., 1:] - sums[..., :-1]
        areas = torch.tensor([1.0 / (255 << 2 * scale) for scale in range(self.num_scales)], device=device)
        return ((columns[..., 1:, :] - columns[..., :-1, :]) * areas.view(-1, 1, 1)).flatten(1)


def integral_images(images: Tensor) -> Tensor:
    """Sum images [N, H, W], uint8, over all pixels above and to the left: whole numbers [N, H + 1, W + 1]."""
    number, height, width = images.shape
    dtype = torch.int32 if 255 * height * width < 1 << 31 else torch.int64
    sums = torch.zeros(number, height + 1, width + 1, dtype=dtype, device=images.device)
    if images.device.type == "cpu":
        integrate(images.numpy(), sums.numpy())
    else:
        sums[:, 1:, 1:] = images.cumsum(dim=2, dtype=dtype).cumsum(dim=1, dtype=dtype)
    return sums
