"""The compiled loop of chrF: character n-grams that a text shares with each of its references."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import numpy as np

from seqrl.metrics.compiled import compiled
from seqrl.metrics.kernels import sort


@compiled
def sorted_grams(characters, bits, order, grams, counts):
    """Fill grams[n - 1, :counts[n - 1]] with the n-grams, n to `order`, of character numbers without -1, as whole numbers in order."""
    length = characters.shape[0]
    whole = characters.copy()
    for n in range(order):
        count = 0
        for place in range(length - n):
            if n > 0:
                last = characters[place + n]
                whole[place] = -1 if whole[place] < 0 or last < 0 else (whole[place] << bits) | last
            if whole[place] >= 0:
                grams[n, count] = whole[place]
                count += 1
        sort(grams[n], count)
        counts[n] = count


@compiled
def _f_score(grams, counts, length, other, other_starts, first, beta):
    """Give chrF, 0 to 1, of a text's sorted n-grams and those of one reference."""
    precision, recall, orders = 0.0, 0.0, 0
    for n in range(counts.shape[0]):
        start, stop = other_starts[first + n], other_starts[first + n + 1]
        total, other_total = length - n, stop - start
        if total <= 0 or other_total == 0:
            continue
        shared, place = 0, 0
        while start < stop and place < counts[n]:
            if grams[n, place] == other[start]:
                shared += 1
                start += 1
                place += 1
            elif grams[n, place] < other[start]:
                place += 1
            else:
                start += 1
        precision += shared / total
        recall += shared / other_total
        orders += 1
    if precision + recall == 0.0:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1.0 + beta * beta) * precision * recall / (beta * beta * precision + recall)


@compiled
def chrf_scores(characters, starts, items, bits, item_references, other, other_starts, order, beta, scores):
    """Fill scores[row] with the best chrF over the references of its item, 0 to 100."""
    longest = 0
    for row in range(items.shape[0]):
        longest = max(longest, starts[row + 1] - starts[row])
    grams, counts = np.empty((order, longest), np.int64), np.empty(order, np.int64)
    for row in range(items.shape[0]):
        item = items[row]
        text = characters[starts[row] : starts[row + 1]]
        sorted_grams(text, bits[item], order, grams, counts)
        best = 0.0
        for reference in range(item_references[item], item_references[item + 1]):
            best = max(best, _f_score(grams, counts, text.shape[0], other, other_starts, reference * order, beta))
        scores[row] = 100.0 * best
