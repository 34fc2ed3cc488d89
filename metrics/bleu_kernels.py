"""The compiled loops of BLEU: match a row's n-grams of all lengths against its item's references in one pass.

A match of n words that starts at two places is one word longer than the match that starts one place later, so a walk from the last word
to the first finds the longest match at every pair of places; only pairs with the same word are looked at. Earlier numbers of n-grams are
not needed: the references' words stand in a small table that is filled once for all rows in succession about one item.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import math

import numpy as np

from seqrl.metrics.compiled import compiled


@compiled
def _slot(word, words, heads, size):
    """Give the slot of a table of `size` slots (a power of two) that holds `word`, or the empty one where it belongs."""
    slot = ((word * 0x9E3779B1) >> 15) & (size - 1)
    while heads[slot] >= 0 and words[slot] != word:
        slot = (slot + 1) & (size - 1)
    return slot


@compiled
def _list_words(flat, row_starts, first, last, words, heads, size, following, reference_of):
    """List where each word of references first to last - 1 stands: at heads[slot], then at following[place], in ascending order.

    The references stand one after the other with a free place behind each, which no match crosses.
    """
    heads[:size] = -1
    place = row_starts[last] - row_starts[first] + last - first - 1
    for reference in range(last - 1, first - 1, -1):
        place -= 1
        for position in range(row_starts[reference + 1] - 1, row_starts[reference] - 1, -1):
            word = np.int64(flat[position])
            slot = _slot(word, words, heads, size)
            words[slot] = word
            following[place] = heads[slot]
            heads[slot] = place
            reference_of[place] = reference
            place -= 1


@compiled
def _closest_length(row_starts, first, last, length):
    """Give the length of the reference that is nearest to `length`, the shorter of two."""
    closest = np.int64(-1)
    for reference in range(first, last):
        other = row_starts[reference + 1] - row_starts[reference]
        gap, best = abs(other - length), abs(closest - length)
        if closest < 0 or gap < best or (gap == best and other < closest):
            closest = other
    return closest


@compiled
def bleu_counts(tokens, items, max_n, flat, row_starts, item_rows, correct, possible, lengths, closest_lengths):
    """Fill the counts of rows whose lengths are known: clipped matches, n-grams and the length of the closest reference."""
    width = tokens.shape[1]
    most = np.int64(0)
    for row in range(items.shape[0]):
        row_first, row_last = item_rows[items[row]], item_rows[items[row] + 1]
        most = max(most, row_starts[row_last] - row_starts[row_first] + row_last - row_first)
    size = 16
    while size < 2 * most:
        size *= 2
    words = np.empty(size, np.int64)
    heads = np.empty(size, np.int64)
    following = np.empty(most + 1, np.int64)
    reference_of = np.empty(most + 1, np.int64)
    # the longest match that starts at a place of the references, and the moment it was found at; the same for the row itself
    run, seen = np.empty(most + 1, np.int64), np.full(most + 1, -2, np.int64)
    own_run, own_seen = np.empty(width + 1, np.int64), np.full(width + 1, -2, np.int64)
    own_following = np.empty(width + 1, np.int64)
    own_heads = np.full(size, -1, np.int64)
    found = np.zeros(max_n + 1, np.int64)
    best = np.empty(max_n + 1, np.int64)
    present = np.int64(-1)
    for row in range(tokens.shape[0]):
        row_first, row_last = item_rows[items[row]], item_rows[items[row] + 1]
        if items[row] != present:
            present = items[row]
            held = row_starts[row_last] - row_starts[row_first]
            size = 16
            while size < 2 * held:
                size *= 2
            _list_words(flat, row_starts, row_first, row_last, words, heads, size, following, reference_of)
        closest_lengths[row] = _closest_length(row_starts, row_first, row_last, lengths[row])
        for order in range(max_n):
            correct[row, order] = 0
            possible[row, order] = max(lengths[row] - order, 0)
        begin = row * (width + 2)  # a moment for each place of each row; no two rows have neighbouring ones
        for position in range(lengths[row] - 1, -1, -1):
            moment = begin + position
            slot = _slot(tokens[row, position], words, heads, size)
            place = heads[slot]
            if place < 0:
                continue
            best[:] = 0
            while place >= 0:
                length = run[place + 1] + 1 if seen[place + 1] == moment + 1 else np.int64(1)
                run[place], seen[place] = length, moment
                found[min(length, max_n)] += 1
                reference, place = reference_of[place], following[place]
                if place < 0 or reference_of[place] != reference:
                    total = np.int64(0)
                    for n in range(max_n, 0, -1):
                        total += found[n]
                        found[n] = 0
                        best[n] = max(best[n], total)
            later = own_heads[slot] - begin  # negative where an earlier row wrote it
            own_heads[slot], own_following[position] = moment, later
            while later >= 0:
                length = own_run[later + 1] + 1 if own_seen[later + 1] == moment + 1 else np.int64(1)
                own_run[later], own_seen[later] = length, moment
                found[min(length, max_n)] += 1
                later = own_following[later]
            total = np.int64(0)
            for n in range(max_n, 0, -1):
                total += found[n]
                found[n] = 0
                correct[row, n - 1] += best[n] > total  # the k-th time an n-gram is met, a reference must have it k times


@compiled
def bleu_values(correct, possible, lengths, closest, tiny, small, scores):
    """Fill scores[row] with coco-caption's BLEU of its counts."""
    for row in range(correct.shape[0]):
        product = 1.0
        for order in range(correct.shape[1]):
            product *= (correct[row, order] + tiny) / (possible[row, order] + small)
        ratio = (lengths[row] + tiny) / (closest[row] + small)
        scores[row] = product ** (1.0 / correct.shape[1])
        if ratio < 1.0:
            scores[row] *= math.exp(1.0 - 1.0 / ratio)
