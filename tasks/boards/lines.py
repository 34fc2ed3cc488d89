"""Games in which a line of stones wins: tic-tac-toe, and Connect-4, where stones fall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.boards.rules import Boards, Flags, check_actions, square_symmetries, start, stone_planes


class LineGame:
    """Players put a stone in turn; who first has `in_line` in a row, a column or a diagonal wins, and a full board is a draw.

    An action is a cell, row by row from the top left; where stones fall it is a column, and the stone comes to lie on those below.

    Args:
        name: of the game.
        height, width: of the board.
        in_line: stones that win.
        falls: whether stones fall.

    Raises:
        ValueError: when no line fits on the board.
    """

    num_planes = 2

    def __init__(self, name: str, *, height: int, width: int, in_line: int, falls: bool = False) -> None:
        if not 1 <= in_line <= min(height, width):
            raise ValueError(
                f"{name}: expected a board of at least {in_line} x {in_line} cells for lines of {in_line}, got {height} x {width}"
            )
        self.name, self.shape, self._falls = name, (height, width), falls
        self.num_actions, self.max_moves = width if falls else height * width, height * width
        self._lines = _lines(height, width, in_line)
        if falls:
            columns, cells = np.arange(width), np.arange(height * width).reshape(height, width)
            self.action_orders = np.stack([columns, columns[::-1]])
            self.cell_orders = np.stack([cells.ravel(), cells[:, ::-1].ravel()])
        else:
            self.action_orders = self.cell_orders = square_symmetries(self.shape)

    def start(self, count: int) -> Boards:
        """Begin games."""
        return start(count, self.shape)

    def legal(self, state: Boards) -> Flags:
        """Say which cells are empty, or which columns are not full, [N, A]."""
        empty = (state.cells[:, 0] if self._falls else state.flat) == 0
        return empty & ~state.ended[:, None]

    def play(self, state: Boards, action: NDArray[Any]) -> Boards:
        """Put one stone in each game that goes on."""
        action = check_actions(self, state, action, self.legal(state))
        live = ~state.ended
        games, cells = np.flatnonzero(live), state.flat.copy()
        place = action[live]
        if self._falls:
            row = (state.cells[games, :, place] == 0).sum(axis=1) - 1
            place = row * self.shape[1] + place
        cells[games, place] = state.player[live]
        # A line holds in_line stones of the mover exactly when they add up to that many of the mover's.
        sums = cells[:, self._lines].sum(axis=2, dtype=np.int8)
        won = live & (sums == (self._lines.shape[1] * state.player)[:, None]).any(axis=1)
        num_moves = (state.num_moves + live).astype(np.int16)
        return Boards(
            cells=cells.reshape(state.cells.shape),
            player=np.where(live, -state.player, state.player),
            num_moves=num_moves,
            last=np.where(live, action, state.last).astype(np.int16),
            ko=state.ko,
            ended=state.ended | won | (num_moves == self.max_moves),
            winner=np.where(won, state.player, state.winner),
        )

    def planes(self, state: Boards) -> NDArray[np.float32]:
        """Give the stones of who is to move and of the other, [N, 2, H, W]."""
        return stone_planes(state)

    def action_name(self, action: int) -> str:
        """Give the column's number, from 1; or the cell's column as a letter and its row from the top as a number."""
        row, column = divmod(action, self.shape[1])
        return str(column + 1) if self._falls else f"{'abcdefghijklmnopqrstuvwxyz'[column]}{row + 1}"


def _lines(height: int, width: int, in_line: int) -> NDArray[np.int64]:
    """List the cells of every line, [L, in_line]."""
    steps, lines = np.arange(in_line), []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for row in range(height):
            for column in range(width):
                rows, columns = row + down * steps, column + right * steps
                if rows[-1] < height and 0 <= columns[-1] < width:
                    lines.append(rows * width + columns)
    return np.stack(lines)
