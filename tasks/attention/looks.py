"""What is drawn of a recurrent attention model: an image, the path of glimpses over it, and what was made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Look:
    """One image, the path of glimpses over it, and what the model made of it.

    Attributes:
        image: uint8 [H, W].
        locations: float [N, 2], each glimpse's centre x, y in -1..1: -1 is the left or top edge of the image, 1 the right or bottom one.
        glimpses: float [N, S, g, g] in 0..1, finest scale first; scale k covers g 2^k pixels.
        probabilities: float [N, K, C], of each object's classes after each glimpse.
        labels: [K], the true class of each object.
    """

    image: NDArray[np.uint8]
    locations: NDArray[np.float32]
    glimpses: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    def shown(self) -> list[list[int]]:
        """List for each object the classes that a chart has room for: the true one, then those that at some step were most probable."""
        room = 5 if len(self.labels) == 1 else 3
        peaks = self.probabilities.max(axis=0)
        orders = [[label, *(c for c in np.argsort(-peak).tolist() if c != label)] for label, peak in zip(self.labels, peaks, strict=True)]
        return [order[:room] for order in orders]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The glimpses' centres in pixels of the image, [N, 2]."""
        return (self.locations.astype(np.float64) + 1) / 2 * self.image.shape[::-1]

    def outline(self, step: int, scale: int) -> tuple[int, int, int, int]:
        """Find the pixels that a glimpse covers, whole ones as `Retina` cuts them: left, top, and the first to the right and below."""
        size = self.glimpses.shape[-1]
        extent, around = size << scale, ((size << scale) - size) // 2
        left, top = ((self.centres[step] - size / 2).round().astype(int) - around).tolist()
        return left, top, left + extent, top + extent
