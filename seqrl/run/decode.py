"""Strict conversion between plain data (from YAML or the command line) and typed dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import yaml

from seqrl.run import registry, renames
from seqrl.run.json_text import brief
from seqrl.run.yaml_text import parse_yaml


class CommandLineText(str):
    """A value as it was typed; its meaning depends on the type of the field it goes to."""


def decode(expected: Any, value: Any, path: str = "") -> Any:
    """Convert plain data into a value of a type, refusing what does not fit.

    Dataclasses, `Optional`, `Union`, `Literal`, `list`, `tuple`, `dict`, `Path`, `bool`, `int`, `float` and `str` are understood. An
    integer is accepted as a float, and so is text like `1e-4`, which YAML 1.1 does not take for a number.

    Args:
        expected: the type.
        value: what `yaml.safe_load` gives, possibly with `CommandLineText` in it.
        path: where the value stands, for messages, for instance `trainer.optimiser`.

    Raises:
        ValueError: naming the field, the expected type, what came, and the nearest valid name.
    """
    origin = typing.get_origin(expected)
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return _dataclass(expected, value, path)
    if origin in (Union, types.UnionType):
        return _union(expected, value, path)
    if isinstance(value, CommandLineText) and expected not in (str, Path):
        value = _typed(value, expected, path)
    if expected is Any:
        return value
    if origin is Literal:
        choices = typing.get_args(expected)
        value = "off" if value is False and "off" in choices else value  # which is how YAML reads the word
        if value in choices and type(value) in {type(choice) for choice in choices}:
            return value
        raise _misfit(path, f"one of {', '.join(map(repr, choices))}", value)
    if origin in (list, tuple, dict, Sequence, Mapping) or expected in (list, tuple, dict):
        return _container(expected, value, path)
    return _scalar(expected, value, path)


def encode(value: Any, keeps: Callable[[dataclasses.Field[Any], Any], bool] = lambda field, item: True) -> Any:
    """Convert dataclasses, paths and tuples into what YAML and JSON can hold.

    Args:
        value: to be converted.
        keeps: says of each field of a dataclass, and its value, whether it is kept.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if not keeps(field, item):
                continue
            plain[field.name] = encode(item, keeps)
            group = field.metadata.get("registry")
            if group and item is not None and not isinstance(item, Mapping):
                plain[field.name] = {"type": registry.name_of(group, type(item)), **plain[field.name]}
        return plain
    if isinstance(value, Mapping):
        return {key: encode(item, keeps) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, keeps) for item in value]
    return str(value) if isinstance(value, Path) else value


def meanings(config: type) -> dict[str, str]:
    """Read what each field means from the `Attributes:` or `Args:` part of a dataclass's docstring."""
    found: dict[str, str] = {}
    doc = inspect.getdoc(config) or ""
    names = {field.name for field in dataclasses.fields(config)}
    current = None
    for line in doc.splitlines():
        match = re.match(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)$", line)
        if match and match[1] in names:
            current = match[1]
            found[current] = match[2].strip()
        elif current and line.startswith(" " * 8):
            found[current] += " " + line.strip()
        else:
            current = None
    return found


def describe(expected: Any) -> str:
    """Name a type the way a user would write it."""
    if dataclasses.is_dataclass(expected):
        return "a mapping of fields"
    if typing.get_origin(expected) in (Union, types.UnionType):
        return " or ".join("null" if member is type(None) else describe(member) for member in typing.get_args(expected))
    if typing.get_origin(expected) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(expected)))}"
    return getattr(expected, "__name__", str(expected)) if typing.get_origin(expected) is None else str(expected)


def _misfit(path: str, expected: str, value: Any) -> ValueError:
    came = "nothing (null)" if value is None else f"{type(value).__name__} {brief(str(value) if isinstance(value, str) else value)}"
    return ValueError(f"{path or 'config'}: expected {expected}, got {came.replace('CommandLineText', 'str')}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _typed(text: CommandLineText, expected: Any, path: str) -> Any:
    try:
        return parse_yaml(str(text))
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or "not YAML"
        raise ValueError(f"{_misfit(path, describe(expected), str(text))} ({reason})") from error


def _dataclass(expected: type, value: Any, path: str, default: Any = None) -> Any:
    """Decode a mapping of fields; what it leaves out comes from the instance `default`, else from the class."""
    if isinstance(value, expected):
        return value
    if isinstance(value, CommandLineText):
        value = _typed(value, expected, path)
    if not isinstance(value, Mapping):
        raise _misfit(path, "a mapping of fields", value)
    fields = {field.name: field for field in dataclasses.fields(expected) if field.init}
    hints = typing.get_type_hints(expected)
    for name in value:
        if name not in fields:
            hint = renames.what_became_of(_join(path, str(name)), fields) or registry.nearest(str(name), fields)
            raise ValueError(f"{_join(path, str(name))}: there is no such field; {hint}")
    values = {}
    for name, field in fields.items():
        if name in value:
            values[name] = _field(field, hints[name], value[name], _join(path, name), getattr(default, name, None))
        elif default is not None:
            values[name] = getattr(default, name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_join(path, name)}: is missing; expected {describe(hints[name])}")
    try:
        return expected(**values)
    except (ValueError, TypeError) as error:
        raise ValueError((f"{path}: {error}" if path else str(error)) + renames.new_values(path, values)) from error


def _field(field: dataclasses.Field[Any], hint: Any, value: Any, path: str, default: Any) -> Any:
    if "registry" in field.metadata:
        return _registered(field.metadata["registry"], value, path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and field.default_factory is not dataclasses.MISSING:
        # Whatever holds it may have defaults of its own for what it holds, at any depth, which one changed field must not undo.
        return _dataclass(hint, value, path, field.default_factory() if default is None else default)
    return decode(hint, value, path)


def _registered(group: str, value: Any, path: str) -> Any:
    """Decode a mapping whose `type` names an entry point."""
    if isinstance(value, CommandLineText):
        value = _typed(value, dict, path)
    if dataclasses.is_dataclass(value):
        return value
    if not isinstance(value, Mapping):
        raise _misfit(path, "a mapping with a `type`", value)
    if "type" not in value:
        raise ValueError(f"{path}.type: is missing; expected one of {', '.join(registry.registered(group)) or 'module:class'}")
    try:
        component = registry.find(group, str(value["type"]))
    except ValueError as error:
        raise ValueError(f"{path}.type: {error}") from error
    if not (isinstance(component, type) and dataclasses.is_dataclass(component)):
        raise ValueError(f"{path}.type: expected {str(value['type'])!r} to be the dataclass of a configuration, got {component!r}")
    return decode(component, {key: item for key, item in value.items() if key != "type"}, path)


def _union(expected: Any, value: Any, path: str) -> Any:
    members = [member for member in typing.get_args(expected) if member is not type(None)]
    is_null = value in (None, "none", "None") or (isinstance(value, CommandLineText) and value in ("null", "~", ""))
    if is_null and len(members) < len(typing.get_args(expected)):
        return None
    if len(members) == 1:
        return decode(members[0], value, path)
    # Text fits nearly everything, so it is tried last.
    for member in sorted(members, key=lambda member: (member is str, member is float)):
        try:
            return decode(member, value, path)
        except ValueError:
            continue
    raise _misfit(path, describe(expected), value)


def _container(expected: Any, value: Any, path: str) -> Any:
    origin, members = typing.get_origin(expected) or expected, typing.get_args(expected)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _misfit(path, "a mapping", value)
        key_type, item_type = members or (Any, Any)
        return {decode(key_type, key, path): decode(item_type, item, _join(path, str(key))) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        raise _misfit(path, "a list", value)
    if origin is tuple and members and members[-1] is not Ellipsis:
        if len(members) != len(value):
            raise _misfit(path, f"{len(members)} items", value)
        return tuple(decode(member, item, f"{path}[{index}]") for index, (member, item) in enumerate(zip(members, value, strict=True)))
    items = [decode(members[0] if members else Any, item, f"{path}[{index}]") for index, item in enumerate(value)]
    return tuple(items) if origin is tuple else items


def _scalar(expected: Any, value: Any, path: str) -> Any:
    if expected in (str, Path) and isinstance(value, str | Path):
        return expected(str(value))
    if expected in (bool, int) and type(value) is expected:
        return value
    if expected is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError) as error:
            raise _misfit(path, "float", value) from error
        if not math.isfinite(number):
            raise _misfit(path, "a finite float", value)
        return number
    raise _misfit(path, describe(expected), value)
