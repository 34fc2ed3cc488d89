"""The search for METEOR's alignment, compiled: which of all possible matches are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled

EXACT, STEM, SYNONYM, PARAPHRASE = 0, 1, 2, 3
BEAM = 40
_MOST_STATES = 4000
# numba's cache looks at one file only: who edits this one removes `__pycache__`, or kernels.py goes on with the old machine code.
# A match is a row of start and length in the hypothesis, start and length in the reference, module, and whether it is fixed.
# A state of the search holds its value, the words of hypothesis and reference that follow its last match (-1 in the hypothesis once a word
# of the reference was left out), and the sum of the distances between the starts of its matches. A chunk costs when it ends.


@compiled
def mark_fixed(matches: NDArray[np.int64], count: int, h_cover: NDArray[np.int64], r_cover: NDArray[np.int64]) -> bool:
    """Mark the matches whose words no other match wants; tell whether these are all."""
    h_cover[:] = 0
    r_cover[:] = 0
    for m in range(count):
        for place in range(matches[m, 0], matches[m, 0] + matches[m, 1]):
            h_cover[place] += 1
        for place in range(matches[m, 2], matches[m, 2] + matches[m, 3]):
            r_cover[place] += 1
    every = True
    for m in range(count):
        alone = True
        for place in range(matches[m, 0], matches[m, 0] + matches[m, 1]):
            alone &= h_cover[place] == 1
        for place in range(matches[m, 2], matches[m, 2] + matches[m, 3]):
            alone &= r_cover[place] == 1
        matches[m, 5] = alone
        every &= alone
    return every


@compiled
def _worth(matches: NDArray[np.int64], m: int) -> int:
    """Value of a match, in units of 4,096 so that a chunk can cost one.

    Exact words count one each. In a match of paraphrases six tenths of the words of each side count, rounded down; those of stems and
    synonyms do not, so that they are taken where they are the only match of their words or make no further chunk.
    """
    counted = 0
    if matches[m, 4] == 0:
        counted = matches[m, 1] + matches[m, 3]
    elif matches[m, 4] == 3:
        counted = matches[m, 1] * 6 // 10 + matches[m, 3] * 6 // 10
    return counted * 4096


@compiled
def _overlaps(used: NDArray[np.uint64], start: int, length: int) -> bool:
    for place in range(start, start + length):
        if used[place >> 6] >> np.uint64(place & 63) & np.uint64(1):
            return True
    return False


@compiled
def _ordered(states: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Order states by value, of equals the larger distances first, of equals the first."""
    keys = np.empty(count, np.int64)
    for s in range(count):
        keys[s] = -(((states[s, 0] << 22) + states[s, 3]) << 12) + s
    if count > 64:
        return np.argsort(keys)
    order = np.empty(count, np.int64)
    for s in range(count):
        place = s
        while place > 0 and keys[order[place - 1]] > keys[s]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = s
    return order


@compiled
def search(matches: NDArray[np.int64], firsts: NDArray[np.int64], r_words: int, h_words: int, beam: int, chosen: NDArray[np.bool_]) -> None:
    """Choose matches that share no word, by a beam search over the words of the reference; states of one future are not merged, as in Java.

    Args:
        matches: [count, 6] in the order of their R_START, see the places above.
        firsts: [r_words + 1]; those that start at word j are matches firsts[j] to firsts[j + 1] - 1.
        r_words: of the reference.
        h_words: of the hypothesis.
        beam: states kept after each word.
        chosen: [count], is filled.
    """
    widest = 1
    for j in range(r_words):
        widest = max(widest, firsts[j + 1] - firsts[j] + 1)
    # words that stand a hundred times in a sentence leave little to search for
    beam = max(1, min(beam, _MOST_STATES // widest))
    room = beam * widest
    steps = 0
    for j in range(r_words):
        steps += firsts[j + 1] > firsts[j]
    masks = (h_words + 63) >> 6
    now, then = np.zeros((room + 1, 4), np.int64), np.zeros((room + 1, 4), np.int64)
    now_used, then_used = np.zeros((room + 1, masks), np.uint64), np.zeros((room + 1, masks), np.uint64)
    now_trail, then_trail = np.full(room + 1, -1, np.int64), np.full(room + 1, -1, np.int64)
    parents, taken = np.empty(steps * room + 1, np.int64), np.empty(steps * room + 1, np.int64)
    num_nodes, count = 0, 1
    now[0, 1], now[0, 2] = -1, -1
    for j in range(r_words):
        first, last = firsts[j], firsts[j + 1]
        order, new = _ordered(now, count), 0
        for s in order[:beam]:
            free = now[s, 2] <= j
            for m in range(first, last if free else first):
                start, length = matches[m, 0], matches[m, 1]
                if _overlaps(now_used[s], start, length):
                    continue
                breaks = now[s, 1] >= 0 and not (now[s, 1] == start and now[s, 2] == j)
                then[new, 0] = now[s, 0] + _worth(matches, m) - breaks
                then[new, 1], then[new, 2] = start + length, j + matches[m, 3]
                then[new, 3] = now[s, 3] + abs(start - j)
                then_used[new] = now_used[s]
                for place in range(start, start + length):
                    then_used[new, place >> 6] |= np.uint64(1) << np.uint64(place & 63)
                parents[num_nodes], taken[num_nodes] = now_trail[s], m
                then_trail[new] = num_nodes
                num_nodes += 1
                new += 1
            if last - first == 1 and matches[first, 5] and free:
                continue
            then[new] = now[s]
            then_used[new] = now_used[s]
            if free and now[s, 1] >= 0:
                then[new, 0] -= 1
                then[new, 1] = -1
            then_trail[new] = now_trail[s]
            new += 1
        now, then = then, now
        now_used, then_used = then_used, now_used
        now_trail, then_trail = then_trail, now_trail
        count = new
    for s in range(count):
        now[s, 0] -= now[s, 1] >= 0
    chosen[:] = False
    node = now_trail[_ordered(now, count)[0]]
    while node >= 0:
        chosen[taken[node]] = True
        node = parents[node]
