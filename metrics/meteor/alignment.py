"""The search for METEOR's alignment, compiled: which of all possible matches are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled

EXACT, STEM, SYNONYM, PARAPHRASE = 0, 1, 2, 3
BEAM = 40
_MOST_STATES = 4000
_MOST_COMPARED = 512
# A match is a row of start and length in the hypothesis, start and length in the reference, module, and whether it is fixed.
# A state of the search holds its value and the words of hypothesis and reference that follow its last match.


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
def _worth(matches: NDArray[np.int64], m: int, joins: bool) -> int:
    """Value of a match: words that count first, then few chunks.

    Exact words count one each. In a match of paraphrases six tenths of the words of each side count, rounded down; those of stems and
    synonyms do not, so that they are taken where they are the only match of their words or make no further chunk.
    """
    counted = 0
    if matches[m, 4] == 0:
        counted = matches[m, 1] + matches[m, 3]
    elif matches[m, 4] == 3:
        counted = matches[m, 1] * 6 // 10 + matches[m, 3] * 6 // 10
    return counted * 4096 - (0 if joins else 1)


@compiled
def _overlaps(used: NDArray[np.uint64], start: int, length: int) -> bool:
    for place in range(start, start + length):
        if used[place >> 6] >> np.uint64(place & 63) & np.uint64(1):
            return True
    return False


@compiled
def _prune(states: NDArray[np.int64], used: NDArray[np.uint64], trail: NDArray[np.int64], count: int, beam: int, done: int) -> int:
    """Keep the best `beam` states in their order, if there are more; of equals the first. A chunk that may still grow costs nothing yet."""
    if count <= beam:
        return count
    values = np.empty(count, np.int64)
    for s in range(count):
        values[s] = -(states[s, 0] + (states[s, 2] >= done)) * 65536 + s
    kept = np.sort(np.argsort(values)[:beam])
    for place in range(beam):
        states[place], used[place], trail[place, 0] = states[kept[place]], used[kept[place]], trail[kept[place], 0]
    return beam


@compiled
def _place(states: NDArray[np.int64], used: NDArray[np.uint64], trail: NDArray[np.int64], new: int, node: int) -> int:
    """Count the state that was written at `new`, unless one with the same future is there; of two the better stays, of equals the first."""
    trail[new, 0] = node
    for other in range(min(new, _MOST_COMPARED)):
        if states[other, 1] != states[new, 1] or states[other, 2] != states[new, 2]:
            continue
        same = True
        for k in range(used.shape[1]):
            same &= used[other, k] == used[new, k]
        if same:
            if states[new, 0] > states[other, 0]:
                states[other] = states[new]
                trail[other, 0] = node
            return new
    return new + 1


@compiled
def search(matches: NDArray[np.int64], firsts: NDArray[np.int64], r_words: int, h_words: int, beam: int, chosen: NDArray[np.bool_]) -> None:
    """Choose matches that share no word, by a beam search over the words of the reference.

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
    now, then = np.zeros((room + 1, 3), np.int64), np.zeros((room + 1, 3), np.int64)
    now_used, then_used = np.zeros((room + 1, masks), np.uint64), np.zeros((room + 1, masks), np.uint64)
    now_trail, then_trail = np.full((room + 1, 1), -1, np.int64), np.full((room + 1, 1), -1, np.int64)
    parents, taken = np.empty(steps * room + 1, np.int64), np.empty(steps * room + 1, np.int64)
    num_nodes, count = 0, 1
    now[0, 1], now[0, 2] = -1, -1
    for j in range(r_words):
        first, last = firsts[j], firsts[j + 1]
        if first == last:
            continue
        new = 0
        for s in range(count):
            for m in range(first, last + 1):
                if m == last:
                    if last - first == 1 and matches[first, 5] and now[s, 2] <= j:
                        continue
                    then[new] = now[s]
                    then_used[new] = now_used[s]
                    node = now_trail[s, 0]
                else:
                    start, length = matches[m, 0], matches[m, 1]
                    if now[s, 2] > j or _overlaps(now_used[s], start, length):
                        continue
                    joins = now[s, 1] == start and now[s, 2] == j
                    then[new, 0] = now[s, 0] + _worth(matches, m, joins)
                    then[new, 1], then[new, 2] = start + length, j + matches[m, 3]
                    then_used[new] = now_used[s]
                    for place in range(start, start + length):
                        then_used[new, place >> 6] |= np.uint64(1) << np.uint64(place & 63)
                    parents[num_nodes], taken[num_nodes] = now_trail[s, 0], m
                    node = num_nodes
                    num_nodes += 1
                new = _place(then, then_used, then_trail, new, node)
        new = _prune(then, then_used, then_trail, new, beam, j + 1)
        now, then = then, now
        now_used, then_used = then_used, now_used
        now_trail, then_trail = then_trail, now_trail
        count = new
    chosen[:] = False
    best = 0
    for s in range(1, count):
        if now[s, 0] > now[best, 0]:
            best = s
    node = now_trail[best, 0]
    while node >= 0:
        chosen[taken[node]] = True
        node = parents[node]
