"""Compiled loops over the pixels of glimpses, for images in a processor's memory: half the time of gathering them by indices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled


@compiled
def integrate(images: NDArray[np.uint8], sums: NDArray[np.int64]) -> None:
    """Write the integral images of images [N, H, W] into sums [N, H + 1, W + 1], whose first row and column are 0."""
    for n in range(images.shape[0]):
        for y in range(images.shape[1]):
            row = sums.dtype.type(0)
            for x in range(images.shape[2]):
                row += images[n, y, x]
                sums[n, y + 1, x + 1] = sums[n, y, x + 1] + row


@compiled
def cut_plain(
    images: NDArray[np.uint8], image: NDArray[np.int64], corner: NDArray[np.int64], size: int, glimpses: NDArray[np.float32]
) -> None:
    """Write what images [N, H, W] show at corners [B, 2], (x, y) of the upper left pixel, into glimpses [B, size²]; 0 outside."""
    height, width = images.shape[1:]
    scale = np.float32(1.0 / 255.0)
    for b in range(glimpses.shape[0]):
        place = 0
        for y in range(corner[b, 1], corner[b, 1] + size):
            for x in range(corner[b, 0], corner[b, 0] + size):
                inside = 0 <= y < height and 0 <= x < width
                glimpses[b, place] = images[image[b], y, x] * scale if inside else np.float32(0.0)
                place += 1


@compiled
def cut_pyramid(
    sums: NDArray[np.int64], image: NDArray[np.int64], corner: NDArray[np.int64], size: int, glimpses: NDArray[np.float32]
) -> None:
    """Write all scales of the glimpses at corners [B, 2] of the finest into glimpses [B, S·size²], from integral images."""
    height, width = sums.shape[1] - 1, sums.shape[2] - 1
    across = np.empty(size + 1, dtype=np.int64)
    above = np.empty(size, dtype=sums.dtype)
    for b in range(glimpses.shape[0]):
        for scale in range(glimpses.shape[1] // size**2):
            offset, area = ((size << scale) - size) // 2, np.float32(1.0 / (255 << 2 * scale))
            for column in range(size + 1):
                across[column] = min(max(corner[b, 0] - offset + (column << scale), 0), width)
            line = sums[image[b], min(max(corner[b, 1] - offset, 0), height)]
            for column in range(size):
                above[column] = line[across[column + 1]] - line[across[column]]
            place = scale * size**2
            for row in range(1, size + 1):
                line = sums[image[b], min(max(corner[b, 1] - offset + (row << scale), 0), height)]
                for column in range(size):
                    below = line[across[column + 1]] - line[across[column]]
                    glimpses[b, place] = (below - above[column]) * area
                    above[column] = below
                    place += 1
