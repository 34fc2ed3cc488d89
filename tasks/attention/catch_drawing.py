"""Draws a game of catch: the screen with the outlines of the glimpse's scales, and beside it what is seen at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from seqrl.tasks.attention.retina import Retina

# 300x228 in all, the width of the animations, so that nothing is resampled.
PIXEL, MARGIN, GAP, PANEL = 9, 6, 9, 66
BACKGROUND, SCREEN, PADDLE = "white", "#181820", "white"
# Okabe and Ito's colours, which colour-blind readers can tell apart; the finest scale first.
BALL, OUTLINES = "#F0E442", ("#D55E00", "#009E73", "#56B4E9")


def draw_game(
    size: int,
    ball: tuple[int, int],
    paddle: tuple[int, int],
    location: NDArray[np.float32],
    seen: NDArray[np.float32],
    retina: Retina | None,
) -> NDArray[np.uint8]:
    """Draw one game, [228, 300, 3] uint8.

    What is seen is shown as the root of its brightness, or a ball would not be visible at a coarse scale.

    Args:
        size: side of the screen, pixels; 24 gives the sizes above.
        ball: row and column.
        paddle: its left column and its width.
        location: [2] of the glimpse.
        seen: the glimpse's numbers at all scales, and more that is left alone.
        retina: that cut it; None where the whole screen is seen.
    """
    side = PIXEL * size
    frame = Image.new("RGB", (side + PANEL + 3 * MARGIN, side + 2 * MARGIN), BACKGROUND)
    board = Image.new("RGB", (side, side), SCREEN)
    pen = ImageDraw.Draw(board)
    _fill(pen, size - 1, *paddle, PADDLE)
    _fill(pen, *ball, 1, BALL)
    for number, (left, top, extent) in enumerate([] if retina is None else _windows(size, location, retina)):
        corner = left * PIXEL, top * PIXEL
        box = (*corner, corner[0] + extent * PIXEL - 1, corner[1] + extent * PIXEL - 1)
        pen.rectangle(box, outline=OUTLINES[number % len(OUTLINES)], width=2)
    frame.paste(board, (MARGIN, MARGIN))
    if retina is not None:
        _panels(frame, side, seen, retina)
    return np.asarray(frame)


def _fill(pen: ImageDraw.ImageDraw, row: int, column: int, width: int, colour: str) -> None:
    pen.rectangle((column * PIXEL, row * PIXEL, (column + width) * PIXEL - 1, (row + 1) * PIXEL - 1), fill=colour)


def _windows(size: int, location: NDArray[np.float32], retina: Retina) -> list[tuple[int, int, int]]:
    """Give the left column, the upper row and the side of what each scale covers, pixels; parts may lie outside of the screen."""
    left, top = retina.corners(torch.from_numpy(location)[None], size, size)[0].tolist()
    beyond = [(extent - retina.size) // 2 for extent in retina.extents]
    return [(left - more, top - more, extent) for more, extent in zip(beyond, retina.extents, strict=True)]


def _panels(frame: Image.Image, board: int, seen: NDArray[np.float32], retina: Retina) -> None:
    """Put what each scale shows below each other, framed in the colour of its outline."""
    side = min(PANEL, (board + GAP) // retina.num_scales - GAP)
    scales = seen[: retina.num_outputs].reshape(retina.num_scales, retina.size, retina.size)
    for number, scale in enumerate(scales):
        grey = Image.fromarray((255 * np.sqrt(scale)).astype(np.uint8)).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
        colour = OUTLINES[number % len(OUTLINES)]
        ImageDraw.Draw(grey).rectangle((0, 0, side - 1, side - 1), outline=colour, width=2)
        frame.paste(grey, (board + 2 * MARGIN, MARGIN + number * (side + GAP)))
