"""Kinds of arrays that the dialogue domains step over, a row a dialog."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Reals = NDArray[np.float64]


def one_of(flags: Flags, random: np.random.Generator) -> Flags:
    """Choose one of the flags set in each row, [N, K]; none where none is."""
    best = np.where(flags, random.random(flags.shape), -1.0).argmax(axis=1)
    return flags & (np.arange(flags.shape[1]) == best[:, None])
