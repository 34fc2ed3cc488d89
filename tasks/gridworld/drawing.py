"""Drawings of the room: best actions as arrows over utilities, and the robot on its way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seqrl.tasks.fonts import load_font
from seqrl.tasks.gridworld.room import COLUMNS, EXITS, MOVES, ROWS, STATE_OF, WALL, Solution

# Okabe and Ito's colours, which colour-blind readers can tell apart.
EXIT_COLOURS = {1.0: "#009E73", -1.0: "#D55E00"}
ARROW_COLOUR, ROBOT_COLOUR, LINE_COLOUR = "#0072B2", "#0072B2", "#444444"
SIDE, GAP, TITLE, HEAD = 100, 24, 36, 7  # pixels of a cell, between rooms, above them, and half an arrow head's width


def draw_solutions(solutions: Sequence[Solution], path: Path) -> Path:
    """Draw one room for each solution, side by side, with every best action as an arrow and the utility below.

    Args:
        solutions: at least one.
        path: the PNG, replaced at once.

    Returns:
        the path.
    """
    width, height = COLUMNS * SIDE + GAP, ROWS * SIDE + GAP
    page = Image.new("RGB", (len(solutions) * width + GAP, TITLE + height), "white")
    for index, solution in enumerate(solutions):
        picture, pen = _paint_room(SIDE)
        for cell, state in STATE_OF.items():
            if cell not in EXITS:
                _draw_cell(pen, cell, solution.best[state].tolist(), float(solution.utility[state]))
        page.paste(picture, (GAP + index * width, TITLE))
        title = (GAP + (index + 0.5) * width - GAP / 2, TITLE / 2)
        ImageDraw.Draw(page).text(title, f"step reward {solution.step_reward:+g}", fill="black", anchor="mm", font=load_font(15))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    page.save(beside, format="PNG")
    os.replace(beside, path)
    return path


def _draw_cell(pen: ImageDraw.ImageDraw, cell: tuple[int, int], best: Sequence[bool], utility: float) -> None:
    """Draw a cell's arrows, and its utility below."""
    x, y = _middle(cell, SIDE)
    moves = [move for move, good in zip(MOVES, best, strict=True) if good]
    y -= 0.1 * SIDE
    for right, up in moves:
        # A single arrow crosses the cell, several leave from its middle.
        back = 0.2 * SIDE if len(moves) == 1 else 0.0
        ahead_x, ahead_y = x + 0.2 * SIDE * right, y - 0.2 * SIDE * up
        pen.line((x - back * right, y + back * up, ahead_x, ahead_y), fill=ARROW_COLOUR, width=3)
        point = ahead_x + 2 * HEAD * right, ahead_y - 2 * HEAD * up
        sides = [(ahead_x + turn * HEAD * up, ahead_y + turn * HEAD * right) for turn in (1, -1)]
        pen.polygon([point, *sides], fill=ARROW_COLOUR)
    text = f"{utility:.3f}" if np.isfinite(utility) else "∞"
    pen.text((x, y + 0.46 * SIDE), text, fill="black", anchor="mm", font=load_font(13))


def draw_robot(cell: tuple[int, int], width: int) -> NDArray[np.uint8]:
    """Paint the room with the robot in it.

    Args:
        cell: (column, row) of the robot.
        width: pixels.

    Returns:
        [H, W, 3] uint8.
    """
    side = width // COLUMNS
    picture, pen = _paint_room(side)
    x, y = _middle(cell, side)
    pen.ellipse((x - side / 4, y - side / 4, x + side / 4, y + side / 4), fill=ROBOT_COLOUR)
    return np.asarray(picture)


def _paint_room(side: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Paint the cells, the wall and the exits with their rewards."""
    picture = Image.new("RGB", (side * COLUMNS + 1, side * ROWS + 1), "white")
    pen = ImageDraw.Draw(picture)
    for place in [*STATE_OF, WALL]:
        left, top = (place[0] - 1) * side, (ROWS - place[1]) * side
        colour = LINE_COLOUR if place == WALL else EXIT_COLOURS[EXITS[place]] if place in EXITS else "white"
        pen.rectangle((left, top, left + side, top + side), fill=colour, outline=LINE_COLOUR)
        if place in EXITS:
            pen.text((left + side / 2, top + side / 4), f"{EXITS[place]:+g}", fill="white", anchor="mm", font_size=side / 4)
    return picture, pen


def _middle(cell: tuple[int, int], side: int) -> tuple[float, float]:
    return (cell[0] - 0.5) * side, (ROWS - cell[1] + 0.5) * side
