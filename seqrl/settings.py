"""Limits of settings, declared beside the fields: `num_samples: Count = 5`, `baseline: Literal["greedy", "none"] = "greedy"`."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, TypeVar


@dataclass(frozen=True)
class Limit:
    """What a number must be; a field declares it by a type `Rate = Annotated[float, Limit(...)]` of the module.

    Attributes:
        expected: the same in words.
        holds: whether a number is so.
    """

    expected: str
    holds: Callable[[Any], bool]


class ReadBy:
    """Which choices of another field read this one; for the others it must keep its default. Declared as `Annotated[str, ReadBy(...)]`.

    Args:
        chooser: name of the other field; a `module:name` in it may read everything.
        choices: its values.
    """

    def __init__(self, chooser: str, *choices: str) -> None:
        self.chooser, self.choices = chooser, choices


Number = TypeVar("Number", int, float)
Count = Annotated[int, Limit("at least 1", lambda value: value >= 1)]
NotNegative = Annotated[Number, Limit("0 or more", lambda value: value >= 0)]
Positive = Annotated[float, Limit("a positive number", lambda value: value > 0)]
Fraction = Annotated[float, Limit("a number from 0 to 1", lambda value: 0 <= value <= 1)]
PositiveFraction = Annotated[float, Limit("a number above 0 and up to 1", lambda value: 0 < value <= 1)]
FractionBelowOne = Annotated[float, Limit("a share from 0 to below 1", lambda value: 0 <= value < 1)]


def named(*names: str) -> Limit:
    """Expect one of these names, or `module:function` for code of one's own; mark the field with `seqrl.run.trust.NAMES_CODE`."""
    return Limit(f"one of {', '.join(names)} or module:function", lambda value: value in names or ":" in value)


def check_settings(config: Any) -> None:
    """Check the fields of a dataclass against what their types declare; called in its `__post_init__`.

    Raises:
        ValueError: naming the field, what was expected and what came.
    """
    kind: Any = type(config)
    for name, limit in _limits(kind).items():
        value = getattr(config, name)
        if not limit.holds(value):
            raise ValueError(f"{name}: expected {limit.expected}, got {value!r}")
    for field, chooser, choices in _readers(kind):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        value, chosen = getattr(config, field.name), getattr(config, chooser)
        if value != default and chosen not in choices and ":" not in chosen:
            whose = f"{chooser} {chosen} does not read it, it is for {', '.join(choices)}"
            raise ValueError(f"{field.name}: {whose}, got {value!r}; leave it out or change {chooser}")


@functools.cache
def _limits(config: Any) -> dict[str, Limit]:
    found = {name: _limit(hint) for name, hint in typing.get_type_hints(config, include_extras=True).items()}
    return {name: limit for name, limit in found.items() if limit is not None}


@functools.cache
def _readers(config: Any) -> list[tuple[Any, str, tuple[str, ...]]]:
    hints = typing.get_type_hints(config, include_extras=True)
    declared = [(field, each) for field in fields(config) for each in getattr(hints[field.name], "__metadata__", ())]
    return [(field, each.chooser, each.choices) for field, each in declared if isinstance(each, ReadBy)]


def _limit(hint: Any) -> Limit | None:
    kind, members = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal:
        return Limit(f"one of {', '.join(map(str, members))}", members.__contains__)
    if kind is Annotated:
        return next((each for each in hint.__metadata__ if isinstance(each, Limit)), None) or _limit(hint.__origin__)
    inner = next(filter(None, map(_limit, members)), None) if kind in (typing.Union, types.UnionType) else None
    return inner and Limit(f"{inner.expected} or null", lambda value: value is None or inner.holds(value))
