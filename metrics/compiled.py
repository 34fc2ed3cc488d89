"""Compile a function with numba and keep the machine code between runs where a folder for it can be written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from numba import njit

# Every metric that has loops of its own.
_WARM_UP = {"cider_d": 1.0, "cider": 1.0, "bleu4": 1.0, "rouge_l": 1.0}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call, on one thread and without the GIL, IEEE arithmetic kept.

    The machine code is cached beside the source file, in the user's cache folder or in `NUMBA_CACHE_DIR`; where none of
    them can be written it is compiled anew in each process, and a warning says so once.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError as error:  # numba found no folder that it can write to
        if "cannot cache function" not in str(error):
            raise
        warnings.warn(
            "the compiled metrics cannot be cached: no writable folder was found, so each process compiles them again "
            "(a few seconds); set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return njit(nogil=True)(function)


def warm_up() -> None:
    """Compile the loops of all metrics, so that whoever scores first does not wait: `python -m seqrl.metrics.compiled`."""
    from seqrl.metrics.by_name import metric_by_name
    from seqrl.metrics.mix import MetricMix

    MetricMix(_WARM_UP, [[[4, 5, 6]], [[4]]], end=2).score([[4, 5, 2]], [3], [0])
    for name in _WARM_UP:
        metric_by_name(name).corpus(["a dog runs", "a cat"], [["a dog runs fast"], ["a cat"]])


if __name__ == "__main__":
    warm_up()
