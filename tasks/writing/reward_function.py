"""A function of one's own that scores captions: found by name, called, its answer checked; without torch, so that processes start fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.time_limit import time_limit

RewardFunction = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]


def import_function(name: str, *, field: str = "reward.function") -> RewardFunction:
    """Import what `module:name` stands for; `field` is the setting that names it, for messages.

    Raises:
        ValueError: when there is none, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"{field}: expected module:name, got {name!r}")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{field}: cannot import {name!r} ({error}); is its folder on PYTHONPATH?") from error
    if not callable(function):
        raise ValueError(f"{field}: expected {name!r} to be a function, got a {type(function).__name__}")
    return function


def call_function(
    function: RewardFunction, captions: Sequence[str], references: Sequence[Sequence[str]], *, name: str, timeout_s: float
) -> NDArray[np.float64]:
    """Score captions with a function of one's own, [number].

    Args:
        function: of captions and the lists of their references.
        captions: words with spaces between.
        references: of each caption, as they were written.
        name: of the function, for messages.
        timeout_s: seconds after which it is given up; 0 for never.

    Raises:
        ValueError: when it does not give one number a caption.
        TimeoutError: when it does not answer.
    """
    with time_limit(timeout_s, f"the reward function {name} (task.reward.timeout_s)"):
        given: object = function(captions, references)
    return checked_scores(given, len(captions))


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
