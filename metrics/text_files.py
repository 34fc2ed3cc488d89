"""The one reader of text that people write: text, JSON, JSON lines and tables; it names file, line and position of what is wrong."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqrl.metrics.limits import brief, require_regular

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}]', re.DOTALL)


def read_text(path: Path | str) -> str:
    r"""Read a file as text: UTF-8 with or without a byte order mark, UTF-16 or UTF-32 with one.

    Args:
        path: the file.

    Returns:
        Its text without the mark; every line end (CRLF, CR) is a `\n`, and nothing else ends a line.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is a folder or a pipe, or holds a byte that is no text or a NUL, naming line and position.
    """
    path = require_regular(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; check the name")
    return text_of(path.read_bytes(), str(path))


def text_of(data: bytes, place: str) -> str:
    """Decode what `read_text` reads; `place` is named in messages."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    data, trouble = data[len(mark) :], None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text, trouble = data[: error.start].decode(encoding), error
    if "\0" in text:
        raise ValueError(
            f"{place}, {_position(text[: text.index(chr(0))])}: expected text, got a NUL; UTF-16 needs a byte order mark, "
            "so save the file as UTF-8"
        )
    if trouble is not None:
        raise ValueError(
            f"{place}, {_position(text)}: expected {encoding.upper()} text, got the byte 0x{data[trouble.start]:02x} ({trouble.reason}); "
            "convert the file to UTF-8"
        ) from trouble
    return _newlines(text)


def lines_of(text: str) -> list[str]:
    r"""Split at `\n` alone, so that line separators inside a caption, such as U+2028, do not make two of it; the last may lack its end."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def read_json(path: Path | str) -> Any:
    """Read JSON.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: as `read_text`; when it is no JSON, or an object names a key twice, naming both lines.
    """
    return json_of(read_text(path), str(path))


def json_of(text: str, place: str) -> Any:
    """Parse what `read_json` reads; `place` is named in messages."""
    if not text.strip():
        raise ValueError(f"{place}: expected JSON, got an empty file")
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}, line {error.lineno}, character {error.colno}: expected JSON, but {error.msg}") from error
    except _Twice:
        key, first, second = next(_keys_named_twice(text))
        raise ValueError(f"{place}: the key {brief(key)} stands in line {first} and again in line {second}; keep one of them") from None


def parse_json(text: str) -> Any:
    """Parse JSON from anybody.

    Raises:
        json.JSONDecodeError: when it is no JSON, or nested more deeply than Python's stack, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct_keys)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("lists or objects are nested too deeply to be read", text, 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(f"a number in it is too long ({error})", text, 0) from error


def json_lines_of(text: str, place: str) -> list[tuple[str, Any]]:
    """Parse one JSON value a line; empty lines are left out.

    Returns:
        For each value its place, for messages ("file, line 3"), and the value.

    Raises:
        ValueError: when a line is no JSON, or names a key twice.
    """
    values = []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        where = f"{place}, line {number}"
        try:
            values.append((where, parse_json(line)))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: expected a JSON object, got {line[:80]!r} (character {error.colno}: {error.msg}); write one a line"
            ) from error
        except _Twice:
            key = next(_keys_named_twice(line))[0]
            raise ValueError(f"{where}: the key {brief(key)} stands there twice; keep one of them") from None
    return values


def table_of(text: str, place: str, delimiter: str) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Parse a table with a heading, as spreadsheets write CSV ("," between cells, quotes around those that hold one) and TSV.

    Args:
        text: of the file.
        place: of the file, for messages.
        delimiter: "," or a tab.

    Returns:
        The names of the columns, and for each row its place, for messages, and its cells by column; empty lines are left out.

    Raises:
        ValueError: when two columns share a name, a row is longer or shorter than the heading, or a quote is not closed.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    found: list[tuple[str, dict[str, str]]] = []
    last = 0
    try:
        for cells in rows:
            where, last = f"{place}, line {last + 1}", rows.line_num
            if not cells:
                continue
            if not names:
                names = [name.strip() for name in cells]
                refuse_twice(((name, f"{where}, column {column}") for column, name in enumerate(names, start=1)), "column")
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"{where}: expected {len(names)} cells ({brief(', '.join(names))[1:-1]}), got {len(cells)}; "
                    f"put quotes around a text that holds {delimiter!r}"
                )
            found.append((where, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise ValueError(f"{place}, line {last + 1}: expected cells with {delimiter!r} between, but {error}; close the quotes") from error
    return names, found


def refuse_twice(named: Iterable[tuple[Any, str]], what: str, where: object = "") -> None:
    """Refuse two things under one name.

    Args:
        named: each name with its place.
        what: what is named, for the message.
        where: the file or folder that they are in, where the places do not say it.

    Raises:
        ValueError: naming both places of the first such name.
    """
    places: dict[Any, str] = {}
    for name, place in named:
        if name in places:
            twice = f"got {brief(name)} twice: in {places[name]}, and again in {place}; keep one of them"
            raise ValueError(f"{where}{': ' if where else ''}expected every {what} once, {twice}")
        places[name] = place


def word_lists(path: Path) -> dict[str, list[str]]:
    """Read the lists of words that stand beside our code: `name: word word ...`, which goes on in indented lines; # begins a comment."""
    entries = re.split(r"\n(?! )", read_text(path).strip())
    return {name: words.split() for name, _, words in (entry.partition(": ") for entry in entries if entry and entry[0] != "#")}


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _position(before: str) -> str:
    lines = _newlines(before).split("\n")
    return f"line {len(lines)}, character {len(lines[-1]) + 1}"


class _Twice(Exception):
    """An object of JSON names a key twice."""


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise _Twice
    return content


def _keys_named_twice(text: str) -> Iterator[tuple[str, int, int]]:
    """Give each key that stands twice in an object of valid JSON, with both lines."""
    objects: list[dict[str, int]] = []
    for part in _JSON_PART.finditer(text):
        if part[0] == "{":
            objects.append({})
        elif part[0] == "}":
            objects.pop()
        elif part[1]:
            key, line = json.loads(part[0][: -len(part[1])]), text.count("\n", 0, part.start()) + 1
            if key in objects[-1]:
                yield key, objects[-1][key], line
            objects[-1][key] = line
