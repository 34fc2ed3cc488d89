"""The compiled loops of the metrics: number n-grams, count those of the references, score rows of token ids.

An n-gram is numbered by walking a trie kept in one open-addressing hash: the key of an n-gram is the number of its prefix
(plus one; zero for the root) in the upper 32 bits and its last token in the lower 32. This is exact for every vocabulary
size and every n, and the parts of an n-gram that no reference holds end the walk early.

A loop and all that it calls stand in one file because numba's cache looks only at the file of the outermost function: with a callee in
another file, an edit there would leave stale machine code behind. The loops of BLEU, and of
what compares sequences in order, stand in other files.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import math

import numpy as np

from seqrl.metrics.compiled import compiled

ROW_BITS = 20  # of a sortable (n-gram, reference) pair: at most 2**20 references an item

_EMPTY = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
_FOLD = np.uint64(32)


@compiled
def _slot(slots, key):
    """Give the slot that holds `key`, or the empty one where it belongs; the number of slots is a power of two."""
    folded = np.uint64(key)
    mixed = (folded ^ (folded >> _FOLD)) * _MULTIPLIER
    last = slots.shape[0] - 1
    slot = np.int64(mixed >> _FOLD) & last
    while slots[slot, 0] != _EMPTY and slots[slot, 0] != key:
        slot = (slot + 1) & last
    return slot


@compiled
def rehash(keys, numbers, slots):
    """Put n-grams with their numbers into an empty table."""
    for place in range(keys.shape[0]):
        if keys[place] != _EMPTY:
            slot = _slot(slots, keys[place])
            slots[slot, 0] = keys[place]
            slots[slot, 1] = numbers[place]


@compiled
def sort(values, count):
    """Sort values[:count] in place (Shell's method: short code, and quick at the few dozen of one item)."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for start in range(gap, count):
            value = values[start]
            place = start
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3


@compiled
def add_items(references, first_item, last_item, max_n, slots, size, document_frequency, count_documents, gram, pairs, counted):
    """Number the n-grams of some items' references; list each item's distinct ones in order, with a count a reference."""
    tokens, row_starts, item_rows = references
    entries, entry_starts, counts, count_starts = counted
    for item in range(first_item, last_item):
        row_first, row_last = item_rows[item], item_rows[item + 1]
        num_rows = row_last - row_first
        token_first = row_starts[row_first]
        item_entry = entry_starts[item * max_n]
        entry = item_entry - 1
        base = count_starts[item]
        for order in range(max_n):
            filled = 0
            for row in range(row_first, row_last):
                for position in range(row_starts[row], row_starts[row + 1] - order):
                    place = position - token_first
                    parent = np.int64(0) if order == 0 else gram[place] + 1
                    key = (parent << 32) | np.int64(tokens[position + order])
                    slot = _slot(slots, key)
                    if slots[slot, 0] == _EMPTY:
                        slots[slot, 0] = key
                        slots[slot, 1] = size
                        size += 1
                    gram[place] = slots[slot, 1]
                    pairs[filled] = (np.int64(slots[slot, 1]) << ROW_BITS) | (row - row_first)
                    filled += 1
            sort(pairs, filled)
            previous = np.int64(-1)
            for k in range(filled):
                number = pairs[k] >> ROW_BITS
                if number != previous:
                    previous = number
                    entry += 1
                    entries[entry] = number
                    base = count_starts[item] + (entry - item_entry) * num_rows
                    counts[base : base + num_rows] = 0
                    if count_documents:
                        document_frequency[number] += 1
                counts[base + (pairs[k] & ((1 << ROW_BITS) - 1))] += 1
            entry_starts[item * max_n + order + 1] = entry + 1
        count_starts[item + 1] = count_starts[item] + (entry + 1 - item_entry) * num_rows
    return size


@compiled
def row_norms(item_rows, max_n, document_frequency, weights, counted, norms):
    """Fill norms[row, order] with the length of each reference's tf-idf vector."""
    entries, entry_starts, counts, count_starts = counted
    for item in range(item_rows.shape[0] - 1):
        row_first, row_last = item_rows[item], item_rows[item + 1]
        num_rows = row_last - row_first
        item_entry = entry_starts[item * max_n]
        for order in range(max_n):
            segment = item * max_n + order
            for entry in range(entry_starts[segment], entry_starts[segment + 1]):
                weight = weights[document_frequency[entries[entry]]]
                base = count_starts[item] + (entry - item_entry) * num_rows
                for row in range(num_rows):
                    norms[row_first + row, order] += (counts[base + row] * weight) ** 2
            for row in range(row_first, row_last):
                norms[row, order] = math.sqrt(norms[row, order])


@compiled
def _scored_length(tokens, length, end, score_end):
    """Give how many tokens count as words: up to the first end token (end < 0: none), that one too if `score_end`."""
    length = min(length, tokens.shape[0])
    for position in range(length):
        if tokens[position] == end:
            return position + 1 if score_end else position
    return length


@compiled
def scored_lengths(tokens, lengths, end, score_end, scored):
    """Fill scored[row] with how many tokens of each row count as words."""
    for row in range(tokens.shape[0]):
        scored[row] = _scored_length(tokens[row], lengths[row], end, score_end)


@compiled
def _extend(tokens, length, order, slots, gram, first, multiplicity):
    """Turn the n-grams of `order` words into those of one more, in place, for each starting position.

    gram: number of the n-gram, -1 where the table lacks it; first: the first position with the same n-gram;
    multiplicity: how often it occurs (at that first position).
    """
    count = length - order
    for position in range(count):
        parent = np.int64(-1)
        if order > 0:
            # the table holds every part of an n-gram that it holds
            parent = gram[position] if gram[position + 1] >= 0 else np.int64(-1)
        if order > 0 and parent < 0:
            gram[position] = -1
            continue
        key = ((parent + 1) << 32) | tokens[position + order]
        slot = _slot(slots, key)
        gram[position] = slots[slot, 1] if slots[slot, 0] == key else -1
    for position in range(count - 1, -1, -1):  # backwards: earlier positions still tell of the shorter n-grams
        multiplicity[position] = 0
        start = 0 if order == 0 else first[position]
        same = position
        for other in range(start, position):
            if tokens[other + order] == tokens[position + order] and (order == 0 or first[other] == start):
                same = other
                break
        first[position] = same
    for position in range(count):
        multiplicity[first[position]] += 1


@compiled
def _find_entry(entries, low, high, number):
    """Give where `number` stands in the ascending entries[low:high], or where it would."""
    while low < high:
        middle = (low + high) >> 1
        if entries[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _add_repetitions(number, count, entries, low, high, counts, start, item_entry, num_rows, repeated):
    """Add to repeated[reference] log(1 + how often a word stands too often or too seldom); once is right where the reference lacks it."""
    entry = _find_entry(entries, low, high, number) if number >= 0 else high
    known = entry < high and entries[entry] == number
    for reference in range(num_rows):
        other = np.int64(counts[start + (entry - item_entry) * num_rows + reference]) if known else 0
        repeated[reference] += math.log(1.0 + (abs(count - other) if other > 0 else count - 1))


@compiled
def cider_scores(tokens, lengths, items, end, score_end, max_n, sigma, robust, row_starts, item_rows, index_n, counted, weighed, scores):
    """Fill scores[row] with CIDEr-D, with CIDEr-R where `robust` holds its three settings, or with plain CIDEr where sigma is zero."""
    entries, entry_starts, counts, count_starts = counted
    slots, document_frequency, weights, norms = weighed
    relative = robust.shape[0] > 0
    clip = relative or sigma > 0.0
    width = tokens.shape[1]
    gram = np.empty(width, np.int64)
    first = np.empty(width, np.int64)
    multiplicity = np.empty(width, np.int64)
    matched = np.empty(width, np.bool_)
    most_rows = 0
    for row in range(items.shape[0]):
        most_rows = max(most_rows, item_rows[items[row] + 1] - item_rows[items[row]])
    product = np.empty(most_rows, np.float64)
    total = np.empty(most_rows, np.float64)
    repeated = np.zeros(most_rows, np.float64)
    for row in range(tokens.shape[0]):
        item = items[row]
        row_first, num_rows = item_rows[item], item_rows[item + 1] - item_rows[item]
        item_entry = entry_starts[item * index_n]
        length = _scored_length(tokens[row], lengths[row], end, score_end)
        total[:num_rows] = 0.0
        repeated[:num_rows] = 0.0
        distinct = 0
        for order in range(min(max_n, length)):
            _extend(tokens[row], length, order, slots, gram, first, multiplicity)
            segment = item * index_n + order
            low, high = entry_starts[segment], entry_starts[segment + 1]
            squares = 0.0
            product[:num_rows] = 0.0
            for position in range(length - order):
                if first[position] != position:
                    matched[position] = matched[first[position]]
                    continue
                number = gram[position]
                weight = weights[document_frequency[number]] if number >= 0 else weights[0]
                count = multiplicity[position]
                squares += (count * weight) ** 2
                if relative and order == 0:
                    distinct += 1
                    _add_repetitions(number, count, entries, low, high, counts, count_starts[item], item_entry, num_rows, repeated)
                if number < 0 or (order > 0 and not (matched[position] and matched[position + 1])):
                    matched[position] = False
                    continue
                entry = _find_entry(entries, low, high, number)
                matched[position] = entry < high and entries[entry] == number
                if matched[position]:
                    base = count_starts[item] + (entry - item_entry) * num_rows
                    for reference in range(num_rows):
                        other = np.int64(counts[base + reference])
                        common = min(count, other) if clip else count
                        product[reference] += weight * weight * (common * other)
            norm = math.sqrt(squares)
            for reference in range(num_rows):
                scale = norm * norms[row_first + reference, order]
                if scale > 0.0:
                    total[reference] += product[reference] / scale
        score = 0.0
        for reference in range(num_rows):
            if clip and total[reference] > 0.0:
                other_length = row_starts[row_first + reference + 1] - row_starts[row_first + reference]
                # the official length is the number of bigrams: one less than the words, but never below zero
                difference = max(length - 1, 0) - max(other_length - 1, 0)
                square = float(difference * difference)
                if relative:
                    cost = robust[1] * square / (robust[2] * other_length * other_length) + robust[0] * repeated[reference] / distinct
                else:
                    cost = square / (2.0 * sigma * sigma)
                total[reference] *= math.exp(-cost)
            score += total[reference]
        scores[row] = 10.0 * score / (max_n * num_rows)
