"""Draws where heads have been: of a tape, time downwards, cells to the right, the answer beside them; and of a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from seqrl.tasks.fonts import load_font

CELL, MARGIN, GAP = 20, 12, 28  # pixels
# Okabe and Ito's colours, which colour-blind readers can tell apart.
INK, FAINT, RULE, HEAD, RIGHT, WRONG = "#181820", "#777780", "#d8d8dc", "#56B4E9", "#009E73", "#D55E00"


@dataclass(frozen=True)
class Kept:
    """What the head of a memory tape saw and did in a step.

    Attributes:
        column: where it was.
        symbol: in this cell, after something was stored.
        stored: whether it was.
    """

    column: int
    symbol: int
    stored: bool


@dataclass(frozen=True)
class Visit:
    """One step of the heads.

    Attributes:
        row, column: where the reading head was.
        symbol: what was written; None for nothing.
        right: whether that was the symbol wanted.
        memory: of its head, where there is a memory.
    """

    row: int
    column: int
    symbol: int | None
    right: bool
    memory: Kept | None = None


def draw_visits(cells: NDArray[np.int64], answer: NDArray[np.int64], visits: Sequence[Visit], *, blank: int) -> NDArray[np.uint8]:
    """Draw an episode so far, [H, W, 3] uint8: a line a step, with the read head's cell and the written symbol's place filled.

    A memory stands right of both, its head's cell filled, with a dark rim where something was stored.

    Args:
        cells: [R, W] of the input tape; those after what is given are left out but for one.
        answer: [T] what was to be written.
        visits: the steps.
        blank: the symbol of no symbol.
    """
    used = np.flatnonzero((cells != blank).any(axis=0))
    width = min(cells.shape[1], max([int(used.max(initial=0)) + 2, *(visit.column + 1 for visit in visits)]))
    rows, left = cells.shape[0], MARGIN
    second = left + width * CELL + GAP
    num_kept = max((visit.memory.column + 1 for visit in visits if visit.memory), default=0)
    third = second + len(answer) * CELL + (GAP if num_kept else 0)
    size = third + num_kept * CELL + MARGIN, 2 * MARGIN + (rows + 2 + len(visits)) * CELL
    picture = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((left, MARGIN), "read", FAINT, load_font(12))
    pen.text((second, MARGIN), "written", FAINT, load_font(12))
    pen.text((third, MARGIN), "memory" if num_kept else "", FAINT, load_font(12))
    for row in range(rows):
        for column in range(width):
            _cell(pen, left, column, row + 1, _sign(cells[row, column], blank))
    for column, symbol in enumerate(answer):
        _cell(pen, second, column, rows, _sign(symbol, blank))
    written = 0
    for step, visit in enumerate(visits):
        line = rows + 2 + step
        for column in range(width):
            here = column == visit.column
            # In a tape of two rows the lower one is said by a darker rim.
            _cell(
                pen,
                left,
                column,
                line,
                _sign(cells[visit.row, column], blank) if here else "",
                HEAD if here else None,
                visit.row == 1 and here,
            )
        for column in range(len(answer)):
            here = visit.symbol is not None and column == written
            _cell(
                pen, second, column, line, _sign(visit.symbol, blank) if here else "", (RIGHT if visit.right else WRONG) if here else None
            )
        for column in range(num_kept):
            memory = visit.memory if visit.memory and column == visit.memory.column else None
            _cell(
                pen,
                third,
                column,
                line,
                _sign(memory.symbol, blank) if memory else "",
                HEAD if memory else None,
                memory is not None and memory.stored,
            )
        written += visit.right
    return np.asarray(picture)


def draw_heads(heads: Mapping[str, Tensor], directory: Path, *, reading: int) -> list[Path]:
    """Draw the weights of a memory's heads, a picture an instance: locations downwards, time to the right, a line where writing begins.

    Args:
        heads: `writes_at` and `reads_at`, [B, S, N] weights that sum to 1.
        directory: where `heads_0.png` and the others go.
        reading: steps in which the instance was read.
    """
    paths = []
    for row in range(len(heads["reads_at"])):
        parts = [np.rint(255 * (1 - heads[name][row].cpu().numpy().T)).astype(np.uint8) for name in ("writes_at", "reads_at")]
        parts = [part.repeat(CELL // 2, axis=0).repeat(CELL // 2, axis=1) for part in parts]
        height, width = parts[0].shape
        picture = Image.new("RGB", (2 * width + GAP + 2 * MARGIN, height + CELL + 2 * MARGIN), "white")
        pen = ImageDraw.Draw(picture)
        for number, (title, part) in enumerate(zip(("write head", "read head"), parts, strict=True)):
            left, top = MARGIN + number * (width + GAP), MARGIN + CELL
            pen.text((left, MARGIN), title, FAINT, load_font(12))
            picture.paste(Image.fromarray(part), (left, top))
            pen.rectangle((left, top, left + width, top + height), outline=RULE)
            begins = left + reading * (CELL // 2)
            pen.line((begins, top, begins, top + height), fill=HEAD)
        paths.append(directory / f"heads_{row}.png")
        picture.save(paths[-1])
    return paths


def _sign(symbol: int | np.int64 | None, blank: int) -> str:
    return "·" if symbol == blank else str(symbol)


def _cell(pen: ImageDraw.ImageDraw, left: int, column: int, line: int, text: str, fill: str | None = None, dark: bool = False) -> None:
    x, y = left + column * CELL, MARGIN + line * CELL
    pen.rectangle((x, y, x + CELL, y + CELL), fill=fill, outline=INK if dark else RULE, width=2 if dark else 1)
    pen.text((x + CELL / 2, y + CELL / 2), text, INK if fill is None else "white", load_font(12), anchor="mm")
