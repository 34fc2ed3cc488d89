"""The compiled loops of the metrics that compare two sequences in order: edits between them, and what they have in common."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import numpy as np

from seqrl.metrics.compiled import compiled

_BITS = 64  # of a number


@compiled
def edits_between(one, other):
    """Give the least number of insertions, deletions and exchanges that turn one int64 sequence into the other."""
    width = other.shape[0]
    row = np.arange(width + 1)
    for position in range(one.shape[0]):
        diagonal, row[0] = row[0], position + 1
        for column in range(width):
            above = row[column + 1]
            exchanged = diagonal if one[position] == other[column] else diagonal + 1
            row[column + 1] = min(exchanged, min(above, row[column]) + 1)
            diagonal = above
    return row[width]


@compiled
def mark_common(reference, candidate, marked):
    """Set marked[p] for the places p of `reference` that a longest common subsequence with `candidate` takes.

    Of several subsequences the one of the official ROUGE: walked from the ends, a candidate's word is left out first where this keeps
    strictly more.
    """
    rows, columns = reference.shape[0], candidate.shape[0]
    longest = np.zeros(columns + 1, np.int32)
    leaves_out = np.zeros((rows, columns), np.bool_)
    for row in range(rows):
        diagonal = longest[0]
        for column in range(columns):
            above = longest[column + 1]
            leaves_out[row, column] = longest[column] > above
            if reference[row] == candidate[column]:
                longest[column + 1] = diagonal + 1
            else:
                longest[column + 1] = max(above, longest[column])
            diagonal = above
    row, column = rows, columns
    while row > 0 and column > 0:
        if reference[row - 1] == candidate[column - 1]:
            marked[row - 1] = True
            row -= 1
            column -= 1
        elif leaves_out[row - 1, column - 1]:
            column -= 1
        else:
            row -= 1


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
def rouge_scores(tokens, lengths, items, beta, flat, row_starts, item_rows, longest, scores):
    """Fill scores[row] with ROUGE-L: best precision and best recall of the longest common subsequence over references."""
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
