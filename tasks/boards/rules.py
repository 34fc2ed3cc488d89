"""What board games share: the state of N games at once, the interface of their rules, and what checks moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
SYMBOLS = {1: "X", -1: "O", 0: "."}


class Boards(NamedTuple):
    """N games, each at some move. States are never written into: `play` gives new ones.

    Attributes:
        cells: [N, H, W] int8, stones of player 1 and -1, 0 where there is none; row 0 is the top.
        player: [N] int8, who is to move.
        num_moves: [N] int16, moves so far.
        last: [N] int16, the last action, -1 before the first one.
        ko: [N] int16, the cell that must not be taken now (Go), -1 where there is none.
        ended: [N] bool.
        winner: [N] int8, 1 or -1; 0 for a draw and while the game goes on.
    """

    cells: NDArray[np.int8]
    player: NDArray[np.int8]
    num_moves: NDArray[np.int16]
    last: NDArray[np.int16]
    ko: NDArray[np.int16]
    ended: Flags
    winner: NDArray[np.int8]

    @property
    def flat(self) -> NDArray[np.int8]:
        """The cells as [N, H * W]."""
        return self.cells.reshape(len(self.cells), self.cells.shape[1] * self.cells.shape[2])

    def rows(self, index: Any) -> Boards:
        """Give some of the games, named by a mask [N], indices or a slice."""
        return Boards(*(leaf[index] for leaf in self))


class BoardGame(Protocol):
    """Rules of a game for two. An action is a number 0..A-1; `action_name` says which move it is.

    Attributes:
        name: as `make_game` takes it.
        shape: (H, W) of the board.
        num_actions: A.
        num_planes: C of `planes`.
        max_moves: after which every game has ended.
        cell_orders: [K, H * W] symmetries of the board: plane.ravel()[cell_orders[k]] is the plane as symmetry k shows it.
        action_orders: [K, A] the same of the actions: policy[action_orders[k]].
    """

    name: str
    shape: tuple[int, int]
    num_actions: int
    num_planes: int
    max_moves: int
    cell_orders: NDArray[np.int64]
    action_orders: NDArray[np.int64]

    def start(self, count: int) -> Boards:
        """Begin games."""

    def legal(self, state: Boards) -> Flags:
        """Say which actions are legal, [N, A]."""

    def play(self, state: Boards, action: NDArray[Any]) -> Boards:
        """Take one action [N] in each game that goes on.

        Raises:
            ValueError: when an action is illegal.
        """

    def planes(self, state: Boards) -> NDArray[np.float32]:
        """Give what a network sees, [N, C, H, W]: stones of who is to move, then stones of the other."""

    def action_name(self, action: int) -> str:
        """Give the name of a move, as people write it."""


def start(count: int, shape: tuple[int, int]) -> Boards:
    """Give empty boards."""
    if count < 0:
        raise ValueError(f"start: expected 0 games or more, got {count}")
    short = np.full(count, -1, dtype=np.int16)
    flags, cells = np.zeros(count, dtype=bool), np.zeros((count, *shape), dtype=np.int8)
    player = np.ones(count, dtype=np.int8)
    return Boards(cells, player, np.zeros(count, dtype=np.int16), short, short.copy(), flags, np.zeros(count, dtype=np.int8))


def joined(parts: Sequence[Boards]) -> Boards:
    """Put the games of several states one after another."""
    return Boards(*(np.concatenate([getattr(part, name) for part in parts]) for name in Boards._fields))


def check_actions(game: BoardGame, state: Boards, action: NDArray[Any], legal: Flags) -> NDArray[np.int64]:
    """Give actions as integers, 0 in games that have ended.

    Raises:
        ValueError: when they do not fit the games, or one is not legal, which says in which game and what would be.
    """
    action = np.asarray(action)
    if action.shape != state.player.shape or not np.issubdtype(action.dtype, np.integer):
        raise ValueError(f"play: expected integer actions of shape {list(state.player.shape)}, got {action.dtype} {list(action.shape)}")
    action = np.where(state.ended, 0, action).astype(np.int64)
    inside = (action >= 0) & (action < game.num_actions)
    wrong = ~state.ended & ~(inside & legal[np.arange(len(action)), action.clip(0, game.num_actions - 1)])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        move, could = int(action[row]), np.flatnonzero(legal[row]).tolist()
        name = f"{move} ({game.action_name(move)})" if inside[row] else f"{move}, which is none of 0 to {game.num_actions - 1}"
        raise ValueError(f"play: expected a legal move in game {row} of {game.name}, one of {could}, got {name}\n{draw(state, row)}")
    return action


def stone_planes(state: Boards) -> NDArray[np.float32]:
    """Give the stones of who is to move and of the other, [N, 2, H, W]."""
    own = state.cells * state.player[:, None, None]
    return np.stack([own == 1, own == -1], axis=1).astype(np.float32)


def square_symmetries(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Give the cell orders of a board's symmetries: 8 of a square, 4 of another rectangle, the first one the identity."""
    cells = np.arange(shape[0] * shape[1]).reshape(shape)
    turns = range(4) if shape[0] == shape[1] else (0, 2)
    return np.stack([np.rot90(side, turn).ravel() for turn in turns for side in (cells, cells[:, ::-1])])


def draw(state: Boards, row: int = 0) -> str:
    """Write one game as lines of X (player 1), O and dots."""
    return "\n".join(" ".join(SYMBOLS[int(cell)] for cell in line) for line in state.cells[row])
