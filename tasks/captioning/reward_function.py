"""A reward function of one's own: found by name, and its answer checked; without torch, for processes that start quickly."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RewardFunction = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]


def import_function(name: str) -> RewardFunction:
    """Import what `module:name` stands for.

    Raises:
        ValueError: when there is none, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"reward.function: expected module:name, got {name!r}")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"reward.function: cannot import {name!r} ({error}); is its folder on PYTHONPATH?") from error
    if not callable(function):
        raise ValueError(f"reward.function: expected {name!r} to be a function, got a {type(function).__name__}")
    return function


def checked_scores(given: Any, number: int) -> NDArray[np.float64]:
    """Give what a function answered as numbers, [number].

    Raises:
        ValueError: when it is not one number a caption.
    """
    try:
        # A tensor may be on a GPU, or part of a graph, of which numpy would hear nothing.
        scores = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the reward function gave {str(given)[:80]!r}; expected one number a caption ({error})") from error
    if scores.shape != (number,):
        raise ValueError(f"the reward function gave scores of shape {list(scores.shape)} for {number} captions; expected one number each")
    return scores
