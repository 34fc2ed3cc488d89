"""Drawings of the room: best actions as arrows over utilities, and the robot on its way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seqrl.tasks.gridworld.room import COLUMNS, EXITS, MOVES, ROWS, STATE_OF, WALL, Solution

# Okabe and Ito's colours, which colour-blind readers can tell apart.
EXIT_COLOURS = {1.0: "#009E73", -1.0: "#D55E00"}
ARROW_COLOUR, ROBOT_COLOUR, LINE_COLOUR = "#0072B2", "#0072B2", "#444444"


def draw_solutions(solutions: Sequence[Solution], path: Path) -> Path:
    """Draw one room for each solution, side by side, with every best action as an arrow and the utility below.

    Args:
        solutions: at least one.
        path: the PNG, replaced at once.

    Returns:
        the path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.5 * len(solutions), 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, solution in zip(figure.subplots(1, len(solutions), squeeze=False)[0], solutions, strict=True):
        _draw_room(axes, solution)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    figure.savefig(beside, format="png", dpi=110)
    os.replace(beside, path)
    return path


def _draw_room(axes: Any, solution: Solution) -> None:
    """Draw one room."""
    for column in range(1, COLUMNS + 1):
        for row in range(1, ROWS + 1):
            cell = (column, row)
            colour = LINE_COLOUR if cell == WALL else EXIT_COLOURS[EXITS[cell]] if cell in EXITS else "white"
            axes.fill([column - 0.5, column + 0.5, column + 0.5, column - 0.5], [row - 0.5, row - 0.5, row + 0.5, row + 0.5], color=colour)
            if cell in EXITS:
                axes.text(column, row, f"{EXITS[cell]:+g}", ha="center", va="center", fontsize=16, color="white")
            elif cell != WALL:
                _draw_cell(axes, cell, solution)
    for line in range(COLUMNS + 1):
        axes.plot([line + 0.5, line + 0.5], [0.5, ROWS + 0.5], color=LINE_COLOUR, linewidth=1)
    for line in range(ROWS + 1):
        axes.plot([0.5, COLUMNS + 0.5], [line + 0.5, line + 0.5], color=LINE_COLOUR, linewidth=1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(f"step reward {solution.step_reward:+g}", fontsize=11)


def _draw_cell(axes: Any, cell: tuple[int, int], solution: Solution) -> None:
    """Draw a cell's arrows, and its utility below."""
    column, row = cell
    best = [move for move, good in zip(MOVES, solution.best[STATE_OF[cell]].tolist(), strict=True) if good]
    for right, up in best:
        # A single arrow crosses the cell, several leave from its middle.
        back, ahead = (0.2, 0.25) if len(best) == 1 else (0.0, 0.25)
        tail, head = (column - back * right, row + 0.1 - back * up), (column + ahead * right, row + 0.1 + ahead * up)
        axes.annotate("", xy=head, xytext=tail, arrowprops={"arrowstyle": "-|>", "color": ARROW_COLOUR, "linewidth": 2})
    utility = float(solution.utility[STATE_OF[cell]])
    axes.text(column, row - 0.36, f"{utility:.3f}" if np.isfinite(utility) else "∞", ha="center", va="center", fontsize=9)


def draw_robot(cell: tuple[int, int], width: int) -> NDArray[np.uint8]:
    """Paint the room with the robot in it.

    Args:
        cell: (column, row) of the robot.
        width: pixels.

    Returns:
        [H, W, 3] uint8.
    """
    side = width // COLUMNS
    picture = Image.new("RGB", (side * COLUMNS + 1, side * ROWS + 1), "white")
    pen = ImageDraw.Draw(picture)
    for column in range(1, COLUMNS + 1):
        for row in range(1, ROWS + 1):
            corner = ((column - 1) * side, (ROWS - row) * side)
            place = (column, row)
            colour = LINE_COLOUR if place == WALL else EXIT_COLOURS[EXITS[place]] if place in EXITS else "white"
            pen.rectangle((*corner, corner[0] + side, corner[1] + side), fill=colour, outline=LINE_COLOUR)
            if place in EXITS:
                pen.text((corner[0] + side / 2, corner[1] + side / 4), f"{EXITS[place]:+g}", fill="white", anchor="mm", font_size=side / 4)
    middle = ((cell[0] - 0.5) * side, (ROWS - cell[1] + 0.5) * side)
    pen.ellipse((middle[0] - side / 4, middle[1] - side / 4, middle[0] + side / 4, middle[1] + side / 4), fill=ROBOT_COLOUR)
    return np.asarray(picture)
