"""Go on small boards: captures, no suicide, ko, area scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.boards.rules import Boards, Flags, check_actions, square_symmetries, start, stone_planes

LARGEST = 9
LETTERS = "ABCDEFGHJ"  # Go's boards have no column I


class Go:
    """Go on size x size cells by the rules of Tromp and Taylor with area scores.

    Stones of the other player without a liberty are taken after a move. Action size * size passes; two passes in a row end the game,
    and so do 2 size² moves. Who has more area wins: stones, and empty regions that touch stones of one colour alone.

    Args:
        size: 1 to 9.
        komi: added to the area of player -1.

    Raises:
        ValueError: when the size is not one of those.

    Source: Tromp & Taylor 1995 (The game of Go, a concise and logical definition).
    Differs from: Tromp and Taylor, in that suicide is not legal, that only the ko itself is forbidden rather than any earlier position
    (hence the limit on moves, as in Silver et al. 2017), and in komi.
    """

    name, num_planes = "go", 3

    def __init__(self, size: int = 9, komi: float = 0.5) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ValueError(f"size: expected a board of 1 to {LARGEST} cells a side, got {size!r}")
        self.size, self.komi, self.shape = size, komi, (size, size)
        self.num_actions, self.max_moves = size * size + 1, max(2, 2 * size * size)
        self.cell_orders = square_symmetries(self.shape)
        passes = np.full((len(self.cell_orders), 1), size * size)
        self.action_orders = np.concatenate([self.cell_orders, passes], axis=1)

    def start(self, count: int) -> Boards:
        """Begin games."""
        return start(count, self.shape)

    def legal(self, state: Boards) -> Flags:
        """Say which actions are legal, [N, A]: empty cells where the stone would have a liberty, but for a ko; and to pass."""
        empty = state.cells == 0
        legal = np.zeros((len(empty), self.num_actions), dtype=bool)
        legal[:, :-1] = state.flat == 0
        # A cell beside an empty one leaves a liberty. All others are tried.
        tried, cell = np.nonzero(legal[:, :-1] & ~self._grown(empty, empty).reshape(state.flat.shape))
        if len(tried):
            legal[tried, cell] = self._placed(state.cells[tried], cell, state.player[tried])[1]
        banned = state.ko >= 0
        legal[banned, state.ko[banned]] = False
        legal[:, -1] = True
        return legal & ~state.ended[:, None]

    def play(self, state: Boards, action: NDArray[Any]) -> Boards:
        """Put one stone, or pass, in each game that goes on."""
        action = check_actions(self, state, action, self.legal(state))
        live, passed = ~state.ended, action == self.num_actions - 1
        puts = np.flatnonzero(live & ~passed)
        cells, ko = state.cells.copy(), np.where(live, np.int16(-1), state.ko)
        if len(puts):
            before = state.cells[puts]
            after = cells[puts] = self._placed(before, action[puts], state.player[puts])[0]
            ko[puts] = self._ko(before, after, action[puts], state.player[puts])
        num_moves = (state.num_moves + live).astype(np.int16)
        over = live & ((passed & (state.last == self.num_actions - 1)) | (num_moves == self.max_moves))
        winner = state.winner.copy()
        if over.any():
            winner[over] = np.sign(self.area(cells[over]) - self.komi)
        last = np.where(live, action, state.last).astype(np.int16)
        return Boards(cells, np.where(live, -state.player, state.player), num_moves, last, ko, state.ended | over, winner)

    def planes(self, state: Boards) -> NDArray[np.float32]:
        """Give the stones of who is to move, those of the other, and a plane of 1 where player 1 is to move, [N, 3, H, W]."""
        mover = np.broadcast_to((state.player == 1)[:, None, None, None], (len(state.player), 1, *self.shape))
        return np.concatenate([stone_planes(state), mover.astype(np.float32)], axis=1)

    def action_name(self, action: int) -> str:
        """Give "pass", or the cell's column as a letter and its row from the bottom as a number."""
        row, column = divmod(action, self.size)
        return "pass" if action == self.num_actions - 1 else f"{LETTERS[column]}{self.size - row}"

    def area(self, cells: NDArray[np.int8]) -> NDArray[np.int64]:
        """Give the area of player 1 less that of player -1, [N]."""
        empty = cells == 0
        reach = [self._flooded(self._grown(cells == player, empty) & empty, empty) for player in (1, -1)]
        own = cells.astype(np.int64) + (reach[0] & ~reach[1]) - (reach[1] & ~reach[0])
        return own.sum(axis=(1, 2))

    def breathing(self, cells: NDArray[np.int8]) -> Flags:
        """Say which stones are in a chain that has a liberty, [N, H, W]. In a position that is legal all stones are."""
        empty, found = cells == 0, np.zeros(cells.shape, dtype=bool)
        for player in (1, -1):
            stones = cells == player
            found |= self._flooded(self._grown(empty, stones), stones)
        return found

    def _placed(self, cells: NDArray[np.int8], cell: NDArray[np.int64], player: NDArray[np.int8]) -> tuple[NDArray[np.int8], Flags]:
        """Put one stone on each board; give the boards without the stones taken, and whether the new stone breathes, [N]."""
        rows, flat = np.arange(len(cells)), cells.reshape(len(cells), -1).copy()
        flat[rows, cell] = player
        after = flat.reshape(cells.shape)
        other = after == -player[:, None, None]
        after[other & ~self.breathing(after)] = 0
        return after, self.breathing(after).reshape(len(cells), -1)[rows, cell]

    def _ko(
        self, before: NDArray[np.int8], after: NDArray[np.int8], cell: NDArray[np.int64], player: NDArray[np.int8]
    ) -> NDArray[np.int64]:
        """Give the cell that must not be taken back: where one stone was taken by one without friends that has no other liberty."""
        flat, N = after.reshape(len(after), -1), len(after)
        taken = ((before != 0) & (after == 0)).reshape(N, -1)
        stone = np.zeros_like(taken)
        stone[np.arange(N), cell] = True
        beside = self._grown(stone.reshape(after.shape), np.ones(after.shape, dtype=bool)).reshape(N, -1) & ~stone
        alone = ~(beside & (flat == player[:, None])).any(axis=1) & ((beside & (flat == 0)).sum(axis=1) == 1)
        return np.where(alone & (taken.sum(axis=1) == 1), taken.argmax(axis=1), -1)

    def _flooded(self, seeds: Flags, region: Flags) -> Flags:
        """Give the parts of a region that are connected to a seed, [N, H, W]; seeds lie in the region."""
        found, inside = self._walled(seeds), self._walled(region)
        while True:
            grown = self._spread(found)
            grown &= inside
            grown |= found
            if np.array_equal(grown, found):
                return self._unwalled(found)
            found = grown

    def _grown(self, source: Flags, region: Flags) -> Flags:
        """Give the cells of a region that have a neighbour in the source, [N, H, W]."""
        return self._unwalled(self._spread(self._walled(source))) & region

    def _walled(self, flags: Flags) -> Flags:
        """Lay all boards into one row of memory, with walls of False between, so that a neighbour is a fixed distance away."""
        N, width = len(flags), self.size + 1
        flat = np.zeros(width + N * width * width, dtype=bool)
        flat[width:].reshape(N, width, width)[:, :-1, :-1] = flags
        return flat

    def _unwalled(self, flat: Flags) -> Flags:
        width = self.size + 1
        return flat[width:].reshape(-1, width, width)[:, :-1, :-1]

    def _spread(self, flat: Flags) -> Flags:
        """Say which cells have a neighbour that is True; walls, too, which the caller leaves out."""
        found = np.zeros_like(flat)
        for distance in (1, self.size + 1):
            found[distance:] |= flat[:-distance]
            found[:-distance] |= flat[distance:]
        return found
