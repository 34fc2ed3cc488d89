"""What is drawn of a recurrent attention model: an image, the path of glimpses over it, and what was made of them."""

from __future__ import annotations

from collections.abc import Sequence
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
        probabilities: float [N, C], of the classes after each glimpse, or [N, K, C] for K objects.
        labels: the true class of each object.
    """

    image: NDArray[np.uint8]
    locations: NDArray[np.float32]
    glimpses: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: tuple[int, ...]

    @property
    def beliefs(self) -> NDArray[np.float32]:
        """The probabilities as [N, K, C]."""
        return self.probabilities if self.probabilities.ndim == 3 else self.probabilities[:, None]

    @property
    def num_steps(self) -> int:
        """N, the number of glimpses."""
        return len(self.locations)

    def shown(self) -> list[list[int]]:
        """List for each object the classes that a chart has room for: the true one, then those that at some step were most probable."""
        room = 5 if len(self.labels) == 1 else 3
        peaks = self.beliefs.max(axis=0)
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


def check_looks(looks: Sequence[Look], class_names: Sequence[str]) -> None:
    """Refuse what cannot be drawn.

    Raises:
        ValueError: naming the look, what was expected and what came.
    """
    if not looks:
        raise ValueError("expected at least one look to draw, got none")
    for index, look in enumerate(looks):
        for fits, expected, came in _requirements(look, len(class_names)):
            if not fits:
                raise ValueError(f"look {index}: expected {expected}, got {came}")
        for name in ("image", "locations", "glimpses", "probabilities"):
            shape, first = getattr(look, name).shape, getattr(looks[0], name).shape
            if shape != first:
                raise ValueError(f"look {index}: expected {name} of the shape of look 0, {list(first)}, got {list(shape)}")


def _requirements(look: Look, num_classes: int) -> list[tuple[bool, str, str]]:
    """List what must hold of a look, what is expected and what came; each can be asked whether the others hold or not."""
    image, places, glimpses, beliefs = look.image, look.locations, look.glimpses, look.probabilities
    steps, objects = len(places) if places.ndim else 0, len(look.labels)
    fitting = [(steps, objects, num_classes)] + [(steps, num_classes)] * (objects == 1)
    classes = f"K {objects} labels, 1 or more, and C {num_classes} class names"
    outside = "some outside or NaN"
    return [
        (image.ndim == 2 and image.dtype == np.uint8 and image.size > 0, "image uint8 [H, W]", f"{image.dtype} {list(image.shape)}"),
        (places.shape == (steps, 2) and steps > 0, "locations [N, 2], N 1 or more", f"{list(places.shape)}"),
        (
            glimpses.ndim == 4 and glimpses.size > 0 and len(glimpses) == steps and glimpses.shape[2] == glimpses.shape[3],
            f"glimpses [N, S, g, g], N {steps} locations",
            f"{list(glimpses.shape)}",
        ),
        (
            objects > 0 and beliefs.shape in fitting,
            f"probabilities [N, C] or [N, K, C], N {steps} locations, {classes}",
            f"{list(beliefs.shape)}",
        ),
        (all(0 <= label < num_classes for label in look.labels), f"labels from 0 to {num_classes - 1}", f"{look.labels}"),
        (bool((np.abs(places) <= 1 + 1e-4).all()), "locations from -1 to 1; clamp them before drawing", outside),
        (bool(((glimpses >= -1e-4) & (glimpses <= 1 + 1e-4)).all()), "glimpses from 0 to 1; divide grey levels by 255", outside),
        (bool(((beliefs >= 0) & (beliefs <= 1 + 1e-4)).all()), "probabilities from 0 to 1; take the softmax of logits", outside),
    ]
