"""Connect-4 solved exactly: alpha-beta over bitboards, compiled.

A board is two integers: the stones of who is to move, and those of both. Column c has the bits 7 c to 7 c + 6 from the bottom up; the
seventh stays empty, so that no line goes from one column into the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled

EXACT, AT_LEAST, AT_MOST = 1, 2, 3  # 0: nothing is stored there
ORDER = np.array([3, 2, 4, 1, 5, 0, 6])  # moves in the middle make more lines


@compiled
def has_four(stones: int) -> bool:
    """Say whether four stones are in a line."""
    for step in (1, 6, 7, 8):
        pairs = stones & (stones >> step)
        if pairs & (pairs >> (2 * step)):
            return True
    return False


@compiled
def look_ahead(own: int, both: int) -> int:
    """Say what one move and the answer to it show: 1 or -1 for a game that is decided, 0 for a full board, else 2.

    From 3 on it is 3 plus the one column that keeps the other player from four in a line.
    """
    other, found = own ^ both, 0
    for column in range(7):
        move = (both + (1 << (7 * column))) & (63 << (7 * column))
        if move and not both & move:
            if has_four(own | move):
                return 1
            if has_four(other | move):
                found = 3 + column if found < 3 else -1  # two lines cannot both be stopped
            elif found == 0:
                found = 2
            if found == -1:
                break
    if found == -1:
        for column in range(7):  # unless who is to move has four first
            move = (both + (1 << (7 * column))) & (63 << (7 * column))
            if move and not both & move and has_four(own | move):
                return 1
    return found


@compiled
def outcome(own: int, both: int, order: Any, keys: Any, values: Any, kinds: Any) -> int:
    """Give what who is to move gets by best play, 1, 0 or -1, by alpha-beta: v(s) = max_a -v(s a), between alpha and beta alone.

    A stack holds the line that is looked at. A function that calls itself would be shorter, but numba cannot load one from its cache.

    Args:
        own: stones of who is to move.
        both: stones of both; nobody has won.
        order: of the columns, most promising first.
        keys: [size] of what was found out before, written into, as are the next two.
        values: [size] what was found out.
        kinds: [size] whether that is exact or a bound.
    """
    owns, boths, alphas, betas = np.empty(43, np.int64), np.empty(43, np.int64), np.empty(43, np.int64), np.empty(43, np.int64)
    bests, places, onlys = np.empty(43, np.int64), np.empty(43, np.int64), np.empty(43, np.int64)
    depth, entering, value = 0, True, 0
    owns[0], boths[0], alphas[0], betas[0] = own, both, -1, 1
    while True:
        own, both, alpha, beta = owns[depth], boths[depth], alphas[depth], betas[depth]
        slot = (own + both) % len(keys)
        done = False
        if entering:
            value = look_ahead(own, both)
            done = value < 2
            bests[depth], places[depth], onlys[depth] = -1, 0, value - 3
            if not done and keys[slot] == own + both:
                kind, known = kinds[slot], int(values[slot])
                if kind == EXACT or (kind == AT_LEAST and known >= beta) or (kind == AT_MOST and known <= alpha):
                    value, done = known, True
        else:  # back from a move
            bests[depth] = max(bests[depth], -value)
        best, move = bests[depth], 0
        if not done and max(alpha, best) < beta:  # the next move, if there is one
            while places[depth] < 7 and not move:
                column = order[places[depth]]
                move = (both + (1 << (7 * column))) & (63 << (7 * column)) & ~both
                places[depth] += 1
                if onlys[depth] >= 0 and column != onlys[depth]:
                    move = 0
        if move:
            depth, entering = depth + 1, True
            owns[depth], boths[depth], alphas[depth], betas[depth] = own ^ both, both | move, -beta, -max(alpha, best)
            continue
        if not done:
            keys[slot], values[slot], value = own + both, best, best
            kinds[slot] = AT_LEAST if best >= beta else AT_MOST if best <= alpha else EXACT
        if depth == 0:
            return value
        depth, entering = depth - 1, False


@compiled
def outcomes(own: Any, both: Any, found: Any, order: Any, keys: Any, values: Any, kinds: Any) -> None:
    """Solve N positions into `found`."""
    for row in range(len(own)):
        found[row] = outcome(own[row], both[row], order, keys, values, kinds)


def bitboards(cells: NDArray[np.int8], player: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the stones of who is to move and of both, [N] each, of boards [N, 6, 7]."""
    bits = 1 << (7 * np.arange(7)[None, :] + np.arange(5, -1, -1)[:, None]).astype(np.int64)
    own = ((cells == player[:, None, None]) * bits).sum(axis=(1, 2))
    return own, ((cells != 0) * bits).sum(axis=(1, 2))
