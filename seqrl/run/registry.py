"""Finds tasks, trainers and commands by entry points, so that the core names none of them."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

TASKS = "seqrl.tasks"
TRAINERS = "seqrl.trainers"
COMMANDS = "seqrl.commands"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name is meant, or list them all when none is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid names: {', '.join(names)}" if names else "there are none"


def registered(group: str) -> dict[str, EntryPoint]:
    """List the entry points of a group by name, without importing them."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def find(group: str, name: str) -> Any:
    """Import what a name stands for.

    Args:
        group: entry point group, for instance `seqrl.tasks`.
        name: name of an entry point, or `module:attribute` for something that is not installed.

    Raises:
        ValueError: when there is no such name, or it cannot be imported because of a missing module.
    """
    # The same package may be seen twice, as a checkout and as its wheel.
    points = entry_points(group=group, name=name)
    owners = {name: ""} if ":" in name else {point.value: point.dist.name if point.dist else "a package" for point in points}
    if not owners:
        raise ValueError(f"{name!r} is not registered under {group}; {nearest(name, registered(group))}")
    if len(owners) > 1:
        both = " and ".join(f"{value} of {owner}" for value, owner in sorted(owners.items()))
        raise ValueError(f"{name!r} ({group}) is the name of {both}; uninstall one of them, or write module:attribute")
    (value,) = owners
    module, _, attribute = value.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name!r} ({group}) needs the module {error.name!r}, which is neither installed nor in this folder") from error
    for part in attribute.split(".") if attribute else []:
        if not hasattr(found, part):
            raise ValueError(f"{name!r} ({group}): module {module} has no {part!r}; {nearest(part, vars(found))}")
        found = getattr(found, part)
    return found


def call(field: str, name: str, *arguments: Any, **settings: Any) -> Any:
    """Call the function of one's own that a setting names by `module:function`.

    Args:
        field: dotted name of the setting.
        name: its value.
        *arguments: what the function is given.
        **settings: likewise, by name.

    Raises:
        ValueError: when there is no such function, or it takes other arguments.
    """
    function = find(field, name)
    try:
        inspect.signature(function).bind(*arguments, **settings)
    except TypeError as error:
        given = ", ".join([type(argument).__name__ for argument in arguments] + [f"{setting}=" for setting in settings])
        raise ValueError(f"{field}: expected {name} to take ({given}), but: {error}; see the setting's meaning in `seqrl show`") from error
    return function(*arguments, **settings)


def name_of(group: str, component: type) -> str:
    """Give the name under which a class is registered, or `module:attribute` when it is not."""
    value = f"{component.__module__}:{component.__qualname__}"
    for name, point in registered(group).items():
        # A package may register a re-export of the class; only modules imported already can hold it.
        if point.value == value or getattr(sys.modules.get(point.module), point.attr or "", None) is component:
            return name
    return value
