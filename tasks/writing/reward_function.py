"""A function of one's own that scores captions: found by name, called, its answer checked; without torch, so that processes start fast."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.trl_form import Notes, TrainerState, checked_optional, has_trl_form, is_async, keywords_for, parameters_of

# Of texts and the lists of their references, of prompts, texts and references, or by keyword in TRL's form.
RewardFunction = Callable[..., Any]


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


def columns_for(
    function: RewardFunction, captions: Sequence[str], references: Sequence[Sequence[str]], prompts: Sequence[str] | None
) -> tuple[Sequence[Any], ...]:
    """Give the arguments of a function: texts and references, the prompts before them where it takes three without a default.

    Raises:
        ValueError: when it takes prompts and there are none.
    """
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if sum(each.kind in by_place and each.default is each.empty for each in parameters_of(function) or ()) != 3:
        return captions, references
    if prompts is None:
        raise ValueError("the reward function takes three arguments, prompts first, and here are none; expected (captions, references)")
    return prompts, captions, references


Named = tuple[str, RewardFunction]
# [K, N] scores of K functions, 0 where there is none, and [K, N] whether there is one.
Answers = tuple[NDArray[np.float64], NDArray[np.bool_]]


def ask(functions: Sequence[Named], asked: Asked, state: TrainerState, notes: Notes) -> list[Any]:
    """Call several functions of one's own, and give what each answered; those that are `async` are awaited together.

    Args:
        functions: name and function; see `seqrl.tasks.writing.trl_form` for the two forms that they have.
        asked: N texts and what belongs to them.
        state: how far the training is.
        notes: what functions log.

    Raises:
        ValueError: when one takes prompts, or a column, that there are none of.
    """
    given: list[Any] = [None] * len(functions)
    awaited: dict[int, tuple[RewardFunction, Mapping[str, Any]]] = {}
    for place, (name, function) in enumerate(functions):
        if not has_trl_form(function):
            given[place] = function(*columns_for(function, asked.texts, asked.references, asked.prompts))
            continue
        keywords = keywords_for(function, name, asked, state, notes)
        if is_async(function):
            awaited[place] = (function, keywords)
        else:
            given[place] = function(**keywords)
    if awaited:
        for place, answer in zip(awaited, _awaited(list(awaited.values())), strict=True):
            given[place] = answer
    return given


def checked_answers(functions: Sequence[Named], given: Sequence[Any], number: int) -> Answers:
    """Give what functions answered as numbers.

    Returns:
        ([K, number] scores, 0 where there is none; [K, number] whether there is one: those in TRL's form may leave texts out).

    Raises:
        ValueError: when one did not give one number a text.
    """
    scores, counts = np.zeros((len(functions), number)), np.ones((len(functions), number), np.bool_)
    for place, (name, function) in enumerate(functions):
        if has_trl_form(function):
            answers = checked_optional(given[place], number, name)
            counts[place] = ~np.isnan(answers)
            scores[place] = np.where(counts[place], answers, 0.0)
        else:
            scores[place] = checked_scores(given[place], number)
    return scores, counts


def _awaited(calls: Sequence[tuple[RewardFunction, Mapping[str, Any]]]) -> list[Any]:
    """Call async functions and wait for all of them together; a notebook's loop, which runs already, cannot be used for that."""

    async def together() -> list[Any]:
        return list(await asyncio.gather(*(function(**keywords) for function, keywords in calls)))  # type: ignore[call-overload]

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(together())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(together())).result()


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
