"""Compile a function with numba when it is first called, and keep the machine code between runs where a folder for it can be written."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

# Two threads may score for the first time at once.
_LOCK = threading.RLock()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call, on one thread and without the GIL, IEEE arithmetic kept; numba is imported then, too.

    With the first call of any such function of a module, the names of all of them there stand for what numba made, so that later calls by
    `module.function(...)` cost what they cost without this. A caller that keeps the function itself pays one more Python call.

    The machine code is cached beside the source file, in the user's cache folder or in `NUMBA_CACHE_DIR`; where none of
    them can be written it is compiled anew in each process, and a warning says so once.
    """
    return _Deferred(function)


class _Deferred:
    """Stands in a module for a function that is not compiled yet."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.dispatcher: Any = None

    def __call__(self, *args: Any) -> Any:
        if self.dispatcher is None:
            _resolve(self.function.__globals__)
        return (self.dispatcher or self.made())(*args)

    def made(self) -> Any:
        """Give what numba makes of the function."""
        if self.dispatcher is None:
            self.dispatcher = _jit(self.function)
        return self.dispatcher


def _resolve(namespace: dict[str, Any]) -> None:
    """Let the names of a module stand for compiled functions: numba looks callees up there."""
    with _LOCK:
        for name, value in list(namespace.items()):
            if isinstance(value, _Deferred):
                if value.function.__globals__ is not namespace and value.dispatcher is None:
                    _resolve(value.function.__globals__)
                namespace[name] = value.made()


def _jit(function: Callable[..., Any]) -> Any:
    from numba import njit

    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError as error:  # numba found no folder that it can write to
        if "cannot cache function" not in str(error):
            raise
        warnings.warn(
            "the compiled metrics cannot be cached: no writable folder was found, so each process compiles them again "
            "(a few seconds); set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=4,
        )
        return njit(nogil=True)(function)
