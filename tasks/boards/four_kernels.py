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
def outcome(own: int, both: int, alpha: int, beta: int, order: Any, keys: Any, values: Any, kinds: Any) -> int:
    """Give what who is to move gets by best play, 1, 0 or -1, as far as it lies between alpha and beta.

    Args:
        own: stones of who is to move.
        both: stones of both; nobody has won.
        alpha: a value below need not be exact.
        beta: nor one above.
        order: of the columns, most promising first.
        keys: [size] of what was found out before, written into, as are the next two.
        values: [size] what was found out.
        kinds: [size] whether that is exact or a bound.
    """
    other = own ^ both
    forced = -1
    empty = False
    for column in range(7):
        move = (both + (1 << (7 * column))) & (63 << (7 * column))
        if move and not both & move:
            empty = True
            if has_four(own | move):
                return 1
            if has_four(other | move):
                if forced >= 0:
                    return -1  # two lines cannot both be stopped
                forced = column
    if not empty:
        return 0
    key = own + both
    place = key % len(keys)
    if keys[place] == key:
        kind, known = kinds[place], int(values[place])
        if kind == EXACT or (kind == AT_LEAST and known >= beta) or (kind == AT_MOST and known <= alpha):
            return known
    best, floor = -1, alpha
    for column in order:
        move = (both + (1 << (7 * column))) & (63 << (7 * column))
        if not move or both & move or (forced >= 0 and column != forced):
            continue
        value = -outcome(other, both | move, -beta, -floor, order, keys, values, kinds)
        best = max(best, value)
        floor = max(floor, best)
        if floor >= beta:
            break
    keys[place], values[place] = key, best
    kinds[place] = AT_LEAST if best >= beta else AT_MOST if best <= alpha else EXACT
    return best


@compiled
def outcomes(own: Any, both: Any, found: Any, order: Any, keys: Any, values: Any, kinds: Any) -> None:
    """Solve N positions into `found`."""
    for row in range(len(own)):
        found[row] = outcome(own[row], both[row], -1, 1, order, keys, values, kinds)


def bitboards(cells: NDArray[np.int8], player: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the stones of who is to move and of both, [N] each, of boards [N, 6, 7]."""
    bits = 1 << (7 * np.arange(7)[None, :] + np.arange(5, -1, -1)[:, None]).astype(np.int64)
    own = ((cells == player[:, None, None]) * bits).sum(axis=(1, 2))
    return own, ((cells != 0) * bits).sum(axis=(1, 2))
