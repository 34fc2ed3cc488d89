"""Reward functions in TRL's form: everything comes by keyword, and a row for which the answer is None does not count.

`f(prompts=, completions=, completion_ids=, trainer_state=, log_extra=, log_metric=, **columns) -> list[float | None]`, or `async def`.
Without torch, so that processes start fast.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.writing.asked import Asked

NAMES = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
# Columns of these names are never handed on; the keywords above tell what they hold.
_NOT_COLUMNS = ("prompt", "completion", "completion_ids")


@dataclass(frozen=True)
class TrainerState:
    """How far the training is.

    Attributes:
        global_step: batches that were rewarded before this one; as many as there were updates.
    """

    global_step: int = 0

    def __getattr__(self, name: str) -> Any:
        """Say what there is where a function asks for more."""
        raise AttributeError(f"trainer_state has global_step alone here, no {name!r}")


@dataclass
class Notes:
    """What functions log while they score.

    Attributes:
        metrics: values of each name.
        extra: columns beside the texts.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, list[Any]] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        """Note a number; those of one name are averaged.

        Raises:
            ValueError: when it is none.
        """
        try:
            self.metrics.setdefault(name, []).append(float(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"log_metric({name!r}, ...): expected a number, got {str(value)[:80]!r}") from error

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """Note a value for each text."""
        self.extra.setdefault(column, []).extend(values)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether what a call gives has to be awaited."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def has_trl_form(function: Callable[..., Any]) -> bool:
    """Tell by its arguments whether a function is to be called by keywords, as TRL does.

    It is where it is `async`, takes nothing by place, names one of TRL's last four keywords, or takes any keyword beside `completions`.
    What takes (captions, references) or (prompts, captions, references) by place is not.
    """
    if is_async(function):
        return True
    parameters = parameters_of(function)
    if parameters is None:
        return False
    by_place = {each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD, each.VAR_POSITIONAL)}
    named = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    if not by_place:
        return bool(parameters)
    takes_any = any(each.kind == each.VAR_KEYWORD for each in parameters)
    return bool(named & set(NAMES[2:])) or (takes_any and ("completions" in named or by_place <= set(NAMES)))


def keywords_for(function: Callable[..., Any], name: str, asked: Asked, state: TrainerState, notes: Notes) -> dict[str, Any]:
    """Give what a function in TRL's form is called with, as far as it takes it.

    Completions are lists of one message where the prompts are lists of messages, and texts otherwise; prompts are empty texts where
    there are none.

    Args:
        function: in TRL's form.
        name: for messages.
        asked: the texts; with `ids`.
        state: how far the training is.
        notes: what the function logs.

    Raises:
        ValueError: when it asks for a column that the data do not have, or a column has the name of another keyword.
    """
    conversations = asked.messages is not None
    texts = [[{"role": "assistant", "content": text}] for text in asked.texts] if conversations else list(asked.texts)
    prompts = asked.messages if conversations else asked.prompts
    known: dict[str, Any] = {
        "prompts": [""] * len(asked) if prompts is None else list(prompts),
        "completions": texts,
        "completion_ids": [list(row) for row in asked.ids or ()],
        "trainer_state": state,
        "log_extra": notes.log_extra,
        "log_metric": notes.log_metric,
    }
    columns = {key: list(values) for key, values in asked.columns.items() if key not in _NOT_COLUMNS}
    if clash := sorted(known.keys() & columns.keys()):
        raise ValueError(f"the data have a column {clash[0]!r}, which is what reward functions are told something else by; rename it")
    known |= {"references": [list(each) for each in asked.references], **columns}
    parameters = parameters_of(function) or ()
    wanted = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if missing := [each.name for each in wanted if each.default is each.empty and each.name not in known]:
        raise ValueError(
            f"the reward function {name} asks for {missing[0]!r}, and the data have no such column; they have "
            f"{', '.join(['references', *sorted(columns.keys() - {'references'})])}, beside {', '.join(NAMES)}"
        )
    if any(each.kind == each.VAR_KEYWORD for each in parameters) or not parameters:
        return known
    return {each.name: known[each.name] for each in wanted if each.name in known}


def checked_optional(given: Any, number: int, name: str) -> NDArray[np.float64]:
    """Give what a function in TRL's form answered as numbers, [number], NaN in the place of None.

    Raises:
        ValueError: when it is not one number, or None, a text.
    """
    what = f"the reward function {name}"
    if hasattr(given, "detach"):
        given = given.detach().cpu().tolist()
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise ValueError(f"{what} gave {str(given)[:80]!r}; expected a list of {number} numbers, or None for a row that does not count")
    answers = list(given)
    if len(answers) != number:
        raise ValueError(f"{what} gave {len(answers)} answers for {number} texts; expected one number, or None, each")
    scores = np.full(number, np.nan)
    for row, answer in enumerate(answers):
        if answer is None:
            continue
        try:
            if isinstance(answer, str | bytes):
                raise TypeError("it is a text")
            scores[row] = float(answer)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what} gave {str(answer)[:80]!r} for row {row}; expected a number or None ({error})") from error
        if np.isnan(scores[row]):
            raise ValueError(f"{what} gave NaN for row {row}; expected a number, or None for a row that does not count")
    return scores


def parameters_of(function: Callable[..., Any]) -> Sequence[inspect.Parameter] | None:
    """Give the arguments that a function takes; None where nobody can tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of what is not written in Python
        return None
