"""Dialogue acts as people write them: `inform(name='chow';kidsallowed=no)`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seqrl.metrics.limits import brief

_KIND = re.compile(r"\??[A-Za-z_]+")
# A slot, and its value where it has one; a quote inside of a value in quotes is followed by more of it.
_SLOT = re.compile(r"""([^=;()']+)(?:=(?:(['"])(.*?)\2(?=[;)])|((?!['"])[^;)]*)))?""", re.DOTALL)


@dataclass(frozen=True)
class Act:
    """What is to be said.

    Attributes:
        kind: such as `inform` or `?request`.
        slots: names with their values, None for a slot that is asked for, in the order in which they were written.
    """

    kind: str
    slots: tuple[tuple[str, str | None], ...]


def parse_act(text: str, place: str) -> Act:
    """Read an act.

    Args:
        text: a kind and, in brackets, slots with `;` between them, each with `=` and a value or alone; quotes around a value are left out.
        place: named in messages, such as "acts.txt, line 3".

    Raises:
        ValueError: naming place and column of what is wrong.
    """
    kind = _KIND.match(text)
    if not kind:
        raise _wrong(text, place, 0, "the kind of an act, such as inform")
    at, slots = kind.end(), list[tuple[str, str | None]]()
    if text[at : at + 1] != "(":
        raise _wrong(text, place, at, "an opening bracket")
    if text[at + 1 : at + 2] == ")":
        at += 1
    while text[at] != ")":
        found = _SLOT.match(text, at + 1)
        if not found or not found[1].strip():
            raise _wrong(text, place, at + 1, "the name of a slot" + ("" if slots else " or a closing bracket"))
        value, at = found[3] if found[2] else found[4], found.end()
        if value is not None and not value.strip():
            raise _wrong(text, place, found.end(1) + 1, "a value")
        if value is None and text[at : at + 1] == "=":
            raise _wrong(text, place, at + 1, "a value whose quote is closed")
        if text[at : at + 1] not in (";", ")"):
            raise _wrong(text, place, at, "a semicolon or a closing bracket")
        slots.append((found[1].strip().replace("_", "").replace(" ", ""), None if value is None else value.strip()))
    if text[at + 1 :].strip():
        raise _wrong(text, place, at + 1, "nothing behind the closing bracket")
    return Act(kind[0], tuple(slots))


def _wrong(text: str, place: str, column: int, expected: str) -> ValueError:
    came = repr(text[column : column + 20]) if column < len(text) else "the end"
    return ValueError(f"{place}, column {column + 1}: expected {expected}, got {came}, in the act {brief(text)}")
