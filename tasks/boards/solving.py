"""Games solved exactly: every position of tic-tac-toe, and late ones of Connect-4."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.boards import four_kernels
from seqrl.tasks.boards.players import distinct, random_moves
from seqrl.tasks.boards.rules import BoardGame, Boards, Flags, joined

TABLE_SIZE = 2**21


class Solver(Protocol):
    """Knows what best play comes to."""

    def values(self, state: Boards) -> NDArray[np.int64]:
        """Give 1, 0 or -1 for who is to move, [N]; for games that have ended, too."""


class Enumeration:
    """Solves a game whose positions can be listed: v(s) = max_a -v(s a), from the last positions back to the first.

    Args:
        game: small; tic-tac-toe has 5,478 positions.
    """

    def __init__(self, game: BoardGame) -> None:
        plies = [game.start(1)]
        while len(plies[-1].player):
            rows, action = np.nonzero(game.legal(plies[-1]))
            plies.append(distinct(game.play(plies[-1].rows(rows), action)))
        self.positions = joined(plies)
        keys = self._keys(self.positions)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]
        self._values = (self.positions.winner * self.positions.player).astype(np.int64)
        for ply in reversed(range(len(plies) - 1)):
            open_here = np.flatnonzero((self.positions.num_moves == ply) & ~self.positions.ended)
            state = self.positions.rows(open_here)
            rows, action = np.nonzero(game.legal(state))
            found = np.full(len(open_here), -1, dtype=np.int64)
            np.maximum.at(found, rows, -self.values(game.play(state.rows(rows), action)))
            self._values[open_here] = found

    def values(self, state: Boards) -> NDArray[np.int64]:
        """See `Solver`."""
        return self._values[self._order[np.searchsorted(self._sorted, self._keys(state))]]

    def _keys(self, state: Boards) -> NDArray[np.int64]:
        return (state.flat + 1).astype(np.int64) @ 3 ** np.arange(state.flat.shape[1])


class FourSolver:
    """Solves positions of Connect-4 by alpha-beta; with 20 stones or more one takes a millisecond, as a rule."""

    def __init__(self) -> None:
        self._table = tuple(np.zeros(TABLE_SIZE, dtype=kind) for kind in (np.int64, np.int8, np.int8))

    def values(self, state: Boards) -> NDArray[np.int64]:
        """See `Solver`."""
        own, both = four_kernels.bitboards(state.cells, state.player)
        found = np.zeros(len(own), dtype=np.int64)
        open_here = ~state.ended
        solved = np.zeros(int(open_here.sum()), dtype=np.int64)
        four_kernels.outcomes(own[open_here], both[open_here], solved, four_kernels.ORDER, *self._table)
        found[open_here] = solved
        return np.where(state.ended, state.winner * state.player, found)


def keeping_moves(game: BoardGame, solver: Solver, state: Boards) -> Flags:
    """Say which moves keep what best play comes to, [N, A]: legal a with -v(s a) = v(s)."""
    rows, action = np.nonzero(game.legal(state))
    keeps = np.zeros((len(state.player), game.num_actions), dtype=bool)
    keeps[rows, action] = -solver.values(game.play(state.rows(rows), action)) == solver.values(state)[rows]
    return keeps


def hard_positions(game: BoardGame, solver: Solver, count: int, stones: range, random: np.random.Generator) -> Boards:
    """Draw positions of games at random in which some moves keep the value and others do not, with so many stones, none twice."""
    found = game.start(0)
    while len(found.player) < count:
        state = game.start(count)
        depth = random.integers(stones.start, stones.stop, size=count)
        for _ in range(stones.stop - 1):
            more = state.num_moves < depth
            played = game.play(state, random_moves(game, state, random))
            state = joined([played.rows(more), state.rows(~more)])
            depth = np.concatenate([depth[more], depth[~more]])
        state = state.rows(~state.ended)
        keeps, legal = keeping_moves(game, solver, state), game.legal(state)
        state = state.rows((legal & ~keeps).any(axis=1))
        found = distinct(joined([found, state]))
    return found.rows(random.permutation(len(found.player))[:count])
