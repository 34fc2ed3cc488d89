"""The compiled loops of the metrics that compare two sequences in order: edits between them, and what they have in common."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# numba infers the types of these functions from their arguments

from __future__ import annotations

import numpy as np

from seqrl.metrics.compiled import compiled


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
