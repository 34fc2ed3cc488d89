"""What is called by another name than in earlier versions; `renames.yaml` is the one table that `seqrl migrate` and messages go by.

An entry `{old: trainer.clip, new: trainer.clip_range, since: 0.6.0, types: [ppo]}` there makes a `Field`. One of a value has
`values: {other_rows: leave_one_out}` and the same name twice, one of a field that was deleted `new: null`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Name = tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """A field of a configuration, with all that stands below it.

    Attributes:
        old: dotted name; `*` stands for one part of any name.
        new: dotted name now, each `*` in the same order; None for a field that was deleted.
        since: the first version with the new name.
        values: old value -> new value; others stay. Of a deleted field those that may be dropped, all where it is empty.
        types: names of the tasks or trainers (`task.type`, `trainer.type`) that it belongs to; all where it is empty.
    """

    old: str
    new: str | None
    since: str
    values: Mapping[Any, Any] = field(default_factory=dict)
    types: Sequence[str] = ()

    def name_now(self, name: Name) -> Name | None:
        """Give what a field is called now, None where it was deleted; another field as it is."""
        old = self.old.split(".")
        if len(name) < len(old) or any(want not in ("*", part) for want, part in zip(old, name, strict=False)):
            return name
        if self.new is None:
            return None
        stars = (part for want, part in zip(old, name, strict=False) if want == "*")
        return (*(next(stars) if part == "*" else part for part in self.new.split(".")), *name[len(old) :])

    def value_now(self, name: Name, value: Any) -> Any:
        """Give a field's value now; that of another field, or one that stays, as it is."""
        old = self.old.split(".")
        is_own = len(old) == len(name) and all(want in ("*", part) for want, part in zip(old, name, strict=True))
        return self.values[value] if is_own and isinstance(value, Hashable) and value in self.values else value


@dataclass(frozen=True)
class Tensor:
    """Names in the weights of a policy, and of what is saved of its trainer.

    Attributes:
        old: regular expression, replaced where it is found.
        new: what stands there now, as in `re.sub`.
        since: the first version with the new name.
    """

    old: str
    new: str
    since: str


@dataclass(frozen=True)
class Later:
    """A field that came later, and whose default is another than what was done before it came.

    Attributes:
        name: dotted.
        before: its value in a run that does not have it.
        since: the first version with the field.
        where: dotted name -> value of other fields, those of the runs that it matters to.
    """

    name: str
    before: Any
    since: str
    where: Mapping[str, Any]


_TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
FIELDS = [Field(**entry) for entry in _TABLE["fields"]]
TENSORS = [Tensor(**entry) for entry in _TABLE["tensors"]]
LATER = [Later(**entry) for entry in _TABLE["later"]]
# Read under their names now; what was written stays as it is.
METRICS: dict[str, str] = _TABLE["metrics"]
PROGRESS: dict[str, str] = _TABLE["progress"]


def rename_fields(leaves: Mapping[Name, Any]) -> tuple[dict[Name, Any], list[str]]:
    """Give a configuration as it is written now, and a line about each change.

    Args:
        leaves: value of each field by the parts of its dotted name.

    Raises:
        ValueError: when both names are set, or a field was deleted whose value did something.
    """
    types = {leaves.get((part, "type")) for part in ("task", "trainer")}
    changes = list[str]()
    for entry in FIELDS:
        if entry.types and not types & set(entry.types):
            continue
        renamed: dict[Name, Any] = {}
        for name, value in leaves.items():
            new, now, old = entry.name_now(name), entry.value_now(name, value), ".".join(name)
            if new is None:
                if entry.values and now is value:
                    raise ValueError(f"{old}: is {value!r}; since {entry.since} there is no such field, and nothing does what it did")
                changes.append(f"{old}: {value!r} is dropped")
                continue
            if new != name and new in leaves:
                raise ValueError(f"{old}: is {'.'.join(new)} since {entry.since}, which is set as well; keep one of them")
            renamed[new] = now
            if new != name:
                changes.append(f"{old} -> {'.'.join(new)}")
            if now is not value:
                changes.append(f"{'.'.join(new)}: {value!r} -> {now!r}")
        leaves = renamed
    return dict(leaves), changes


def settings_before(named: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings that a run lacks because it is older than they are, as it had them in fact.

    Args:
        named: value of each field of the run by its dotted name.
    """
    runs = (entry for entry in LATER if all(named.get(name) == value for name, value in entry.where.items()))
    return {entry.name: entry.before for entry in runs if entry.name not in named}


def rename_tensor(name: str) -> str:
    """Give a tensor's name now."""
    for entry in TENSORS:
        name = re.sub(entry.old, entry.new, name)
    return name


def what_became_of(name: str, valid: Iterable[str]) -> str | None:
    """Say what a field of an earlier version is called now, None where there never was one of that name.

    Args:
        name: dotted.
        valid: names of the fields that stand beside it now.
    """
    old: Name = tuple(name.split("."))
    found: list[tuple[Name | None, str]] = [(old, "")]
    for entry in FIELDS:
        found += [(new, entry.since) for each, _ in found if each is not None and (new := entry.name_now(each)) != each]
    for new, since in reversed(found[1:]):
        if new is None:
            return f"it was deleted in {since}; `seqrl migrate RUN` drops it from the configuration of a run"
        if new[:-1] != old[:-1]:
            return f"{name} is now {'.'.join(new)}; `seqrl migrate RUN` rewrites a run"
        if new[-1] in valid:  # or it is of another trainer, say
            return f"{old[-1]} is now {new[-1]}; `seqrl migrate RUN` rewrites a run"
    return None


def new_values(name: str, fields: Mapping[str, Any]) -> str:
    """Say, as the end of a message, what a value of an earlier version is called now; "" where there is none.

    Args:
        name: dotted, of what has the fields.
        fields: value of each field.
    """
    for entry in FIELDS:
        for field_name, value in fields.items():
            now = entry.value_now((*name.split("."), field_name), value)
            if entry.new is not None and now is not value:
                return f"; {field_name} {value} is now {now}, and `seqrl migrate RUN` rewrites a run"
    return ""
