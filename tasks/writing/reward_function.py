"""A function of one's own that scores captions: found by name, called, its answer checked; without torch, so that processes start fast."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.time_limit import time_limit

# Of texts and the lists of their references, or of prompts, texts and references.
RewardFunction = Callable[..., Sequence[float]]


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


def takes_prompts(function: Callable[..., Any]) -> bool:
    """Tell whether a function is one of prompts, texts and references, by the number of arguments that have no default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of what is not written in Python
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in places and each.default is each.empty for each in parameters) == 3


def columns_for(
    function: RewardFunction, captions: Sequence[str], references: Sequence[Sequence[str]], prompts: Sequence[str] | None
) -> tuple[Sequence[Any], ...]:
    """Give the arguments of a function: texts and references, the prompts before them where it takes them.

    Raises:
        ValueError: when it takes prompts and there are none.
    """
    if not takes_prompts(function):
        return captions, references
    if prompts is None:
        raise ValueError("the reward function takes three arguments, prompts first, and here are none; expected (captions, references)")
    return prompts, captions, references


def call_function(
    function: RewardFunction,
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    prompts: Sequence[str] | None = None,
    *,
    name: str,
    timeout_s: float,
) -> NDArray[np.float64]:
    """Score captions with a function of one's own, [number].

    Args:
        function: of captions and the lists of their references, or of prompts, captions and references.
        captions: words with spaces between.
        references: of each caption, as they were written.
        prompts: of each, where there are any.
        name: of the function, for messages.
        timeout_s: seconds after which it is given up; 0 for never.

    Raises:
        ValueError: when it does not give one number a caption.
        TimeoutError: when it does not answer.
    """
    columns = columns_for(function, captions, references, prompts)
    with time_limit(timeout_s, f"the reward function {name} (task.reward.timeout_s)"):
        given: object = function(*columns)
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
        why = "" if scores.shape else ": the function gets lists and gives a list"
        raise ValueError(
            f"the reward function gave scores of shape {list(scores.shape)} for {number} captions; expected one number each{why}"
        )
    return scores
