"""The compiled loops of ROUGE-L: the longest common subsequence of a row and each of its item's references."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import numpy as np

from seqrl.metrics.compiled import compiled

_BITS = 64  # of a number


@compiled
def _common(tokens, length, words, column):
    """Give the length of the longest common subsequence of tokens[:length] and words, column by column of its table."""
    width = words.shape[0]
    column[: width + 1] = 0
    for position in range(length):
        diagonal = np.int64(0)
        for place in range(1, width + 1):
            above = column[place]
            column[place] = diagonal + 1 if tokens[position] == words[place - 1] else max(above, column[place - 1])
            diagonal = above
    return column[width]


@compiled
def _common_bits(tokens, length, words):
    """Give the same for fewer than 64 tokens, whose column of the table is one number.

    Bit i of `steps` is 0 where the column grows from token i to the next (Hyyrö 2004, Bit-parallel LCS-length computation revisited).
    """
    steps = ~np.uint64(0)
    one = np.uint64(1)
    for place in range(words.shape[0]):
        word = np.int64(words[place])
        equal = np.uint64(0)
        for position in range(length):
            equal |= np.uint64(tokens[position] == word) << np.uint64(position)
        shared = steps & equal
        steps = (steps + shared) | (steps - shared)
    common = np.int64(0)
    for position in range(length):
        common += np.int64((steps >> np.uint64(position)) & one == 0)
    return common


@compiled
def rouge_scores(tokens, lengths, items, beta, references, longest, scores):
    """Fill scores[row] with ROUGE-L: best precision and best recall of the longest common subsequence over references."""
    flat, row_starts, item_rows = references
    column = np.empty(longest + 1, np.int64)
    for row in range(tokens.shape[0]):
        length = lengths[row]
        precision, recall = 0.0, 0.0
        for reference in range(item_rows[items[row]], item_rows[items[row] + 1]):
            words = flat[row_starts[reference] : row_starts[reference + 1]]
            if length < _BITS:
                common = _common_bits(tokens[row], length, words)
            else:
                common = _common(tokens[row], length, words, column)
            if common > 0:
                precision = max(precision, common / length)
                recall = max(recall, common / words.shape[0])
        scores[row] = 0.0
        if precision > 0.0:
            scores[row] = (1.0 + beta * beta) * precision * recall / (recall + beta * beta * precision)
