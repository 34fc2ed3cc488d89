"""Canvases with one or two images on them, for a whole batch at once: centred, translated, cluttered, pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from seqrl.settings import Count, NotNegative, check_settings

PlacementKind = Literal["centred", "translated", "cluttered", "pair"]
ClutterRule = Literal["added", "brightest"]


@dataclass(frozen=True)
class Placement:
    """What one canvas looks like: where its images stand, and what else is on it.

    Attributes:
        kind: "centred", one image in the middle; "translated", one image anywhere wholly inside; "cluttered", translated, with
            `num_clutter` squares cut out of images of the same set; "pair", two images that do not overlap.
        canvas_size: S, pixels.
        num_clutter: M, pieces of clutter on each canvas, for "cluttered".
        clutter_size: C, pixels, the side of a piece.
        clutter_rule: "added", min(1, min(1, sum of the pieces) + image), pieces of any image; "brightest", max(image, pieces), of others.

    Source: Mnih et al. 2014, "Recurrent Models of Visual Attention", section 4.1 (centred, translated, cluttered); Ba et al. 2015,
        "Multiple Object Recognition with Visual Attention" (pair). "added" is the rule of the program for such images that DeepMind
        published in 2014 (google-deepmind/mnist-cluttered), with 8 pieces of 8x8 on 100x100.
    Differs from: Ba et al., whose pairs have noise around them and are one of 55 classes; ours have an order, and two labels.
    """

    kind: PlacementKind
    canvas_size: Count
    num_clutter: NotNegative[int]
    clutter_size: Count
    clutter_rule: ClutterRule = "added"

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def num_objects(self) -> int:
        """K, images on a canvas that have a label: 2 for "pair", else 1."""
        return 2 if self.kind == "pair" else 1

    def check(self, height: int, width: int) -> None:
        """Refuse images that do not fit.

        Args:
            height: H of the images, pixels.
            width: W of the images, pixels.

        Raises:
            ValueError: when the canvas is too small for them, or they are too small for a piece of clutter.
        """
        if self.canvas_size < max(height, width):
            raise ValueError(
                f"canvas_size: expected at least the size of the images, {max(height, width)}, got {self.canvas_size}; "
                "set canvas_size, typically 60 or 100, or a smaller image_size"
            )
        if self.kind == "pair" and self.canvas_size < 2 * max(height, width):
            raise ValueError(
                f"canvas_size: expected at least {2 * max(height, width)}, twice the size of the images, so that two fit, "
                f"got {self.canvas_size}; set canvas_size, typically 60 or 100"
            )
        if self.kind == "cluttered" and self.clutter_size > min(height, width):
            raise ValueError(
                f"clutter_size: expected at most the size of the images that it is cut from, {min(height, width)}, "
                f"got {self.clutter_size}; set a smaller clutter_size"
            )

    def place(self, images: Tensor, items: Tensor, generator: torch.Generator, heights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw a canvas for each item.

        Every place that is allowed is equally likely. Clutter comes from any of the images, by the rule "brightest" and the second
        image of a pair from those other than the item. Where things overlap, they are added up, or the brighter pixel is seen.

        Args:
            images: uint8 [N, H, W], on the CPU.
            items: int64 [B], which images to show, 0 to N - 1.
            generator: on the CPU; everything random is drawn from it.
            heights: int64 [B], pixels that each item's image is resized to, the width alike; None leaves images as they are. Not for
                "pair". Clutter is cut from images as they are.

        Returns:
            canvases: uint8 [B, S, S].
            shown: int64 [B, K], the images on each canvas, K = 2 for "pair", from left to right by their centres, which never
                have the same column.

        Raises:
            ValueError: when the images do not fit, an item is none of them, or another image is needed and there is none.
        """
        assert heights is None or self.kind != "pair"
        count, height, width = images.shape
        self.check(height, width)
        if items.numel() and not 0 <= int(items.min()) <= int(items.max()) < count:
            raise ValueError(f"items: expected 0 to {count - 1}, got {int(items.min())} to {int(items.max())}; there are {count} images")
        if (self.kind == "pair" or (self.kind == "cluttered" and self.clutter_rule == "brightest")) and count < 2:
            raise ValueError(f"images: placement {self.kind} takes from other images too and needs at least 2, got {count}; add images")
        canvas = np.zeros((len(items), self.canvas_size, self.canvas_size), dtype=np.uint8)
        if self.kind == "pair":
            shown = torch.stack([items, _others(items, count, generator)], dim=1)
            # Heads or tails decides which of the two is on the left.
            swap = torch.randint(2, (len(items), 1), generator=generator).bool()
            shown = torch.where(swap, shown.flip(1), shown)
            corners = self._corners_of_pairs(height, width, len(items), generator)
            for k in range(self.num_objects):
                _put(canvas, images.numpy()[shown[:, k].numpy()], corners[:, k], np.maximum)
        else:
            shown = items.unsqueeze(1)
            self._put_alone(canvas, images, items, generator, heights)
        if self.kind == "cluttered":
            self._clutter(canvas, images, items, generator)
        return torch.from_numpy(canvas), shown

    def _corners(self, height: int, width: int, count: int, generator: torch.Generator) -> Tensor:
        """Give the top left corner, row and column, of one image a canvas, [count, 2]."""
        rows, columns = self.canvas_size - height + 1, self.canvas_size - width + 1
        if self.kind == "centred":
            return torch.tensor([(rows - 1) // 2, (columns - 1) // 2]).expand(count, 2)
        return _random_corners(rows, columns, (count,), generator)

    def _corners_of_pairs(self, height: int, width: int, count: int, generator: torch.Generator) -> Tensor:
        """Give the top left corners of the left and the right image, [count, 2, 2].

        Of two images on a canvas with R x Q places, the right one may be `down` rows below and `right` > 0 columns beside the
        left one in (R - |down|) (Q - right) places, or in none where they would overlap. All these places are numbered, and
        one number is drawn, so that nothing is drawn twice.
        """
        rows, columns = self.canvas_size - height + 1, self.canvas_size - width + 1
        down, right = torch.arange(1 - rows, rows).unsqueeze(1), torch.arange(1, columns)
        apart = (down.abs() >= height) | (right >= width)
        places = ((rows - down.abs()) * (columns - right) * apart).flatten()
        ends = places.cumsum(dim=0)
        number = torch.randint(int(ends[-1]), (count,), generator=generator)
        cell = torch.searchsorted(ends, number, right=True)
        down, right = down.flatten()[cell // len(right)], right[cell % len(right)]
        rest = number - ends[cell] + places[cell]
        left_corner = torch.stack([rest // (columns - right) + (-down).clamp(min=0), rest % (columns - right)], dim=1)
        return torch.stack([left_corner, left_corner + torch.stack([down, right], dim=1)], dim=1)

    def _put_alone(
        self, canvas: NDArray[np.uint8], images: Tensor, items: Tensor, generator: torch.Generator, heights: Tensor | None
    ) -> None:
        """Put one image on each canvas, those of one height together."""
        height, width = images.shape[1:]
        if heights is None:
            _put(canvas, images.numpy()[items.numpy()], self._corners(height, width, len(items), generator), np.maximum)
            return
        for size in heights.unique().tolist():
            rows = (heights == size).nonzero().squeeze(1)
            patches = resized(images[items[rows]], size)
            corners = self._corners(patches.shape[1], patches.shape[2], len(rows), generator)
            _put(canvas, patches.numpy(), corners, np.maximum, rows)

    def _clutter(self, canvas: NDArray[np.uint8], images: Tensor, items: Tensor, generator: torch.Generator) -> None:
        count, height, width = images.shape
        size, pieces = self.clutter_size, (self.num_clutter, len(items))
        added = self.clutter_rule == "added"
        drawn = torch.randint(count, pieces, generator=generator) if added else _others(items.expand(pieces), count, generator)
        sources = drawn.numpy()
        cuts = _random_corners(height - size + 1, width - size + 1, pieces, generator).numpy()
        corners = _random_corners(self.canvas_size - size + 1, self.canvas_size - size + 1, pieces, generator)
        windows = sliding_window_view(images.numpy(), (size, size), axis=(1, 2))
        clutter = windows[sources, cuts[..., 0], cuts[..., 1]]
        # One after the other, because pieces of one canvas may overlap. In which order does not matter, not even that the image came
        # first: nothing is negative, so a sum that was clipped in between ends as the clipped sum of all.
        for piece, corner in zip(clutter, corners, strict=True):
            _put(canvas, piece, corner, _sum if added else np.maximum)


def _sum(canvas: NDArray[np.uint8], patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add up to at most 255, white."""
    return canvas + np.minimum(patches, 255 - canvas)


def resized(images: Tensor, height: int) -> Tensor:
    """Resize images uint8 [N, H, W] to [N, height, round(height W / H)], with all pixels that fall into one."""
    if height == images.shape[1]:
        return images
    size = height, round(height * images.shape[2] / images.shape[1])
    new = F.interpolate(images.unsqueeze(1).float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    return new.squeeze(1).round().clamp(0, 255).to(torch.uint8)


def _put(
    canvas: NDArray[np.uint8],
    patches: NDArray[np.uint8],
    corners: Tensor,
    join: Callable[..., NDArray[np.uint8]],
    rows: Tensor | None = None,
) -> None:
    """Join patches [B, h, w] with what is on the canvases [B, S, S], or some rows of them, at corners [B, 2]."""
    # A view on every window of every canvas: NumPy then moves whole patches and needs no index for each pixel.
    windows = sliding_window_view(canvas, patches.shape[1:], axis=(1, 2), writeable=True)
    where = (np.arange(len(canvas)) if rows is None else rows.numpy(), corners[:, 0].numpy(), corners[:, 1].numpy())
    windows[where] = join(windows[where], patches)


def _random_corners(rows: int, columns: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw rows and columns below the given numbers, [*shape, 2]."""
    number = torch.randint(rows * columns, shape, generator=generator)
    return torch.stack([number // columns, number % columns], dim=-1)


def _others(items: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw for each item one of the other `count` - 1 images."""
    return (items + 1 + torch.randint(count - 1, items.shape, generator=generator)) % count
