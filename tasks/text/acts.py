"""Dialogue acts as people write them: `inform(name='chow';kidsallowed=no)`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seqrl.metrics.limits import brief

_KIND = re.compile(r"\??[A-Za-z_]+")
_SLOT = re.compile(r"[^=;()']+")


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
    at = kind.end()
    if text[at : at + 1] != "(":
        raise _wrong(text, place, at, "an opening bracket")
    slots = list[tuple[str, str | None]]()
    at += 1
    while text[at : at + 1] != ")" or slots:
        name = _SLOT.match(text, at)
        if not name or not name[0].strip():
            raise _wrong(text, place, at, "the name of a slot" + ("" if slots else " or a closing bracket"))
        value, at = _value(text, place, name.end()) if text[name.end() : name.end() + 1] == "=" else (None, name.end())
        slots.append((name[0].strip().replace("_", "").replace(" ", ""), value))
        if text[at : at + 1] == ")":
            break
        if text[at : at + 1] != ";":
            raise _wrong(text, place, at, "a semicolon or a closing bracket")
        at += 1
    if text[at + 1 :].strip():
        raise _wrong(text, place, at + 1, "nothing behind the closing bracket")
    return Act(kind[0], tuple(slots))


def _value(text: str, place: str, equals: int) -> tuple[str, int]:
    """Read the value behind `=`; give it and where it ends."""
    start = equals + 1
    quote = text[start : start + 1]
    if quote in ("'", '"'):
        # A quote inside of a value is followed by more of it.
        end = re.compile(re.escape(quote) + r"(?=[;)])").search(text, start + 1)
        if not end:
            raise _wrong(text, place, start, "a value whose quote is closed")
        value, at = text[start + 1 : end.start()], end.end()
    else:
        ends = [place for place in (text.find(";", start), text.find(")", start)) if place >= 0]
        at = min(ends, default=len(text))
        value = text[start:at]
    if not value.strip():
        raise _wrong(text, place, start, "a value")
    return value.strip(), at


def _wrong(text: str, place: str, column: int, expected: str) -> ValueError:
    came = repr(text[column : column + 20]) if column < len(text) else "the end"
    return ValueError(f"{place}, column {column + 1}: expected {expected}, got {came}, in the act {brief(text)}")
