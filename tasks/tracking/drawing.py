"""Draws a track over its image, with the centre line below it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 320  # of a frame, about; a whole number of times the image's
# Okabe and Ito's colours, which colour-blind readers can tell apart.
LINE, TRACK, ACTOR = "#009E73", "#E69F00", "#D55E00"


def draw_track(image: NDArray[np.float32], line: NDArray[np.float64], track: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw an image [S, S], its centre line [K, 2] and the places of a track [T, 2]; give a frame [H, H, 3] uint8, H at least 320."""
    scale = -(-SIDE_PX // len(image))
    scale += len(image) * scale % 2  # MP4 needs even sides
    grey = Image.fromarray((255 * image).astype(np.uint8))
    frame = grey.resize((scale * len(image),) * 2, Image.Resampling.NEAREST).convert("RGB")
    pen = ImageDraw.Draw(frame)

    def shown(places: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in scale * (places + 0.5)]

    pen.line(shown(line), fill=LINE, width=2)
    if len(track) > 1:
        pen.line(shown(track), fill=TRACK, width=3, joint="curve")
    for x, y in shown(track):
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=TRACK)
    x, y = shown(track[-1:])[0]
    pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=ACTOR)
    return np.asarray(frame)
