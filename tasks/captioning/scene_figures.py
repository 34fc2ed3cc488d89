"""Where the figures of a drawn scene can be seen, as numbers that a detector is taught with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqrl.tasks.captioning.scene_layout import COLOURS, SHAPES, TEXTURES, Placed

# Two groups of three and of four, and two further pairs.
MAX_FIGURES = 12
# A figure is hidden when another one is drawn over its middle.
_HIDES_WITHIN = 0.8


def describe_figures(figures: Sequence[Placed]) -> np.ndarray:
    """List the figures whose middle can be seen.

    Args:
        figures: of one scene, from back to front.

    Returns:
        float32 [MAX_FIGURES, 5]: x and y as shares of the picture, indices of shape, colour and texture; rows of -1 fill up.
    """
    rows = np.full((MAX_FIGURES, 5), -1, dtype=np.float32)
    seen = [figure for place, figure in enumerate(figures) if _is_seen(figure, figures[place + 1 :])]
    for row, figure in zip(rows, seen, strict=False):
        thing = figure.thing
        row[:] = figure.x, figure.y, SHAPES.index(thing.shape), COLOURS.index(thing.colour), TEXTURES.index(thing.texture)
    return rows


def _is_seen(figure: Placed, in_front: Sequence[Placed]) -> bool:
    inside = 0 <= figure.x < 1 and 0 <= figure.y < 1
    return inside and all(np.hypot(other.x - figure.x, other.y - figure.y) >= _HIDES_WITHIN * other.radius for other in in_front)
