"""Reads the hypotheses and references that `seqrl score` compares, and matches them by place or by id."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import json_lines_of, json_of, lines_of, read_text, refuse_twice, table_of

MISSING = ("refuse", "empty", "leave_out")
UNDERSTOOD = (
    "text (.txt, no ending, or the two letters of a language), JSON (.json), JSON lines (.jsonl, .ndjson), "
    "tables with a heading (.csv, .tsv)"
)
_ID_FIELDS = ("image_id", "id", "image", "image_name", "file_name", "filename")
_TEXT_FIELDS = ("caption", "text", "comment")
_LIST_FIELDS = ("captions", "texts", "references")
_TEXT_ENDINGS = {"", ".txt", ".text", ".tok", ".token", ".hyp", ".hyps", ".ref", ".refs", ".out", ".pred", ".gold", ".tgt", ".src"}
_NO_LANGUAGES = {".gz", ".xz", ".pt", ".md", ".py", ".db"}
_JSON_START = re.compile(r'\s*(?:\{\s*"|\[\s*[\[{"])')
_NUMBERED = re.compile(r"\s*([^\t]*[^\t\s])#\d+\t(.*)", re.DOTALL)


# Where a text or several stand, their item's id, what stands there, and whether these are all texts of the item.
_Row = tuple[str, str | None, Any, bool]


@dataclass(frozen=True)
class Entry:
    """One text, or the references of one item: where it stands, its id (None: matched by place) and the raw texts."""

    place: str
    key: str | None
    texts: list[str]
    whole: bool  # the entry holds all texts of its item, so that a second one of the same id is too many


@dataclass(frozen=True)
class Pairs:
    """Hypotheses and references that belong together, as written.

    Attributes:
        keys: the id of each item, or its number from 1.
        hypotheses: one text an item.
        references: at least one text an item.
        num_missing: items without a hypothesis, counted as empty or left out.
        num_in_references: all items of the references.
    """

    keys: list[str]
    hypotheses: list[str]
    references: list[list[str]]
    num_missing: int
    num_in_references: int


def read_pairs(hypotheses_path: Path, references_path: Path, *, missing: str = "refuse") -> Pairs:
    """Read hypotheses and their references, matched by id where both have ids, else by place.

    The ending says what a file is, and content that is plainly JSON, JSON lines, Flickr's `name.jpg#0<TAB>caption` or a table
    with a known heading is read as that under any name.

    Args:
        hypotheses_path: text, one a line or `id<TAB>text`; JSON: a list of texts, {id: text}, or COCO results [{image_id,
            caption}]; the same a line; or a table with an id and a text column.
        references_path: text, one item a line with tabs between its references, or `name.jpg#0<TAB>caption`; JSON: a list of lists
            of texts, {id: [text]}, or COCO captions {annotations: [{image_id, caption}]}; lines of {id, captions: [text]} or of
            {image_id, caption}; or a table with an id and a text column.
        missing: what to do with items that have references and no hypothesis: "refuse", "empty" (they count as empty
            hypotheses) or "leave_out".

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a file is not understood, an id comes twice, the files do not fit each other, or an item has no
            reference, naming it.
    """
    if missing not in MISSING:
        raise ValueError(f"missing: expected one of {', '.join(MISSING)}, got {missing!r}")
    hypotheses = _merged(read_entries(hypotheses_path, many=False))
    references = _merged(read_entries(references_path, many=True))
    if not hypotheses:
        raise ValueError(f"{hypotheses_path}: holds no hypothesis")
    by_id = [any(isinstance(key, str) for key in items) for items in (hypotheses, references)]
    if by_id[0] != by_id[1]:
        lacking = hypotheses_path if by_id[1] else references_path
        raise ValueError(f"{lacking}: has no ids, the other file has, so nothing says what belongs together; give both ids, or none")
    if not by_id[0] and len(hypotheses) != len(references):
        raise ValueError(
            f"{hypotheses_path} has {len(hypotheses)} items, {references_path} {len(references)}; expected as many, in the same order"
        )
    strange = [key for key in hypotheses if key not in references]
    if strange:
        raise ValueError(
            f"{references_path}: no references for {_first(strange)}, which {hypotheses_path} has ({len(strange)} of "
            f"{len(hypotheses)}); remove the hypotheses, or add references"
        )
    absent = [key for key in references if key not in hypotheses]
    if absent and missing == "refuse":
        raise ValueError(
            f"{hypotheses_path}: {len(absent)} of {len(references)} items in {references_path} have no hypothesis: {_first(absent)}; "
            "add them, count them as empty with --missing empty, or score only the others with --missing leave_out"
        )
    keys = [*hypotheses, *(absent if missing == "empty" else [])]
    for key in keys:
        if not references[key] or not all(text.strip() for text in references[key]):
            raise ValueError(f"{references_path}: item {shown(key)} has no reference, or an empty one")
    return Pairs(
        keys=[str(key + 1) if isinstance(key, int) else key for key in keys],
        hypotheses=[hypotheses[key][0] if key in hypotheses else "" for key in keys],
        references=[references[key] for key in keys],
        num_missing=len(absent),
        num_in_references=len(references),
    )


def shown(key: int | str) -> str:
    """Write an id, or the number of a place."""
    return str(key + 1) if isinstance(key, int) else brief(key)


def read_entries(path: Path, *, many: bool) -> list[Entry]:
    """Read one file; `many` where it holds references. See `read_pairs`."""
    text, place = read_text(path), str(path)
    kind = _kind(text, path.suffix.lower())
    if kind == "json":
        rows = _of_json(json_of(text, place), place)
    elif kind == "json lines":
        rows = _of_values(json_lines_of(text, place))
    elif kind == "text":
        rows = _of_lines(lines_of(text), path, many=many)
    elif kind:
        rows = _of_table(text, place, kind)
    else:
        raise ValueError(
            f"{path}: expected {UNDERSTOOD}, got a file ending in {path.suffix!r}; convert it, or rename it if it is one of these"
        )
    entries = [_entry(*row, many=many) for row in rows]
    refuse_twice(((e.key, e.place) for e in entries if e.whole and e.key is not None), "id of references" if many else "id of hypotheses")
    return entries


def _kind(text: str, ending: str) -> str:
    """Tell what a file holds, first by its ending, then by what it plainly is: of a table what stands between its cells; "" for what is
    not understood.
    """
    by_ending = {".json": "json", ".jsonl": "json lines", ".ndjson": "json lines", ".csv": ",", ".tsv": "\t"}
    if ending in by_ending:
        kind = by_ending[ending]
        lines = [line for line in lines_of(text) if line.strip()][:2]
        # Some write one object a line and call it .json.
        return "json lines" if kind == "json" and len(lines) > 1 and all(map(_is_json, lines)) else kind
    language = len(ending) == 3 and ending[1:].isalpha() and ending not in _NO_LANGUAGES
    numbered = ending[1:].isdigit() or ending.startswith((".hyp", ".ref"))
    if not (ending in _TEXT_ENDINGS or language or numbered) or text.lstrip()[:5].lower() in ("<?xml", "%pdf-"):
        return ""
    first = next((line for line in lines_of(text) if line.strip()), "")
    if _JSON_START.match(text):
        # What is no JSON after all is refused when it is parsed.
        return "json" if not _is_json(first) or _is_json(text) else "json lines"
    for delimiter in (",", "\t"):
        heading = [cell.strip().lower() for cell in first.split(delimiter)]
        if len(heading) > 1 and set(heading) & set(_ID_FIELDS) and set(heading) & set(_TEXT_FIELDS):
            return delimiter
    return "text"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except RecursionError:
        return True  # as far as anybody can tell; whoever reads it is told
    except ValueError:
        return False


def _of_lines(lines: Sequence[str], path: Path, *, many: bool) -> list[_Row]:
    places = [f"{path}, line {number}" for number in range(1, len(lines) + 1)]
    filled = [(place, line) for place, line in zip(places, lines, strict=True) if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for _, line in filled]
    if filled and all(numbered):
        return [(place, match[1], match[2], False) for (place, _), match in zip(filled, numbered, strict=True) if match]
    if many:
        return [(place, None, line.split("\t"), True) for place, line in zip(places, lines, strict=True)]
    if any("\t" in line for _, line in filled):
        if wrong := [place for place, line in filled if line.count("\t") != 1]:
            raise ValueError(f"{wrong[0]}: expected one text a line, or id, tab and text in every line; some lines hold a tab")
        return [(place, key.strip(), text, True) for place, line in filled for key, text in [line.split("\t")]]
    return [(place, None, line, True) for place, line in zip(places, lines, strict=True)]


def _of_table(text: str, place: str, delimiter: str) -> list[_Row]:
    names, rows = table_of(text, place, delimiter)
    fields = []
    for wanted in (_ID_FIELDS, _TEXT_FIELDS):
        found = [name for name in names if name.lower() in wanted]
        if not found:
            raise ValueError(
                f"{place}: expected a column among {', '.join(wanted)}, got {brief(', '.join(names))[1:-1] or 'an empty file'}; rename one"
            )
        fields.append(min(found, key=lambda name: wanted.index(name.lower())))
    return [(where, row[fields[0]], row[fields[1]], False) for where, row in rows]


def _of_json(content: Any, place: str) -> list[_Row]:
    if isinstance(content, dict) and "annotations" in content:
        content = content["annotations"]
    if isinstance(content, dict) and set(content) & set(_ID_FIELDS) and set(content) & {*_TEXT_FIELDS, *_LIST_FIELDS}:
        content = [content]  # one line of JSON lines is JSON, too
    if isinstance(content, dict):
        return [(place, str(key), value, True) for key, value in content.items()]
    if not isinstance(content, list):
        raise ValueError(f"{place}: expected a list or a mapping, got {type(content).__name__}")
    between = ", entry" if all(isinstance(value, dict) for value in content) else ": item"
    return _of_values([(f"{place}{between} {number}", value) for number, value in enumerate(content, start=1)])


def _of_values(values: Sequence[tuple[str, Any]]) -> list[_Row]:
    if not all(isinstance(value, dict) for _, value in values):
        return [(place, None, value, True) for place, value in values]
    found: list[_Row] = []
    for place, row in values:
        key = next((row[name] for name in _ID_FIELDS if name in row), None)
        text = next((name for name in (*_TEXT_FIELDS, *_LIST_FIELDS) if name in row), None)
        if key is None or text is None:
            raise ValueError(
                f"{place}: lacks image_id or caption; expected an id ({', '.join(_ID_FIELDS)}) and a text ({', '.join(_TEXT_FIELDS)}) "
                f"or a list of texts ({', '.join(_LIST_FIELDS)}), got {brief(', '.join(map(str, row)))[1:-1] or 'nothing'}"
            )
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise ValueError(f"{place}: expected a whole number or a text for an id, got {type(key).__name__} {brief(key)}")
        found.append((place, str(key), row[text], text in _LIST_FIELDS))
    return found


def _entry(place: str, key: str | None, value: Any, listed: bool, *, many: bool) -> Entry:
    where = place if key is None else f"{place}: item {brief(key)}"
    if many and listed and not isinstance(value, list):
        raise ValueError(f"{where}: expected a list of texts, got {type(value).__name__}")
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{where}: expected text, got {type(text).__name__} {brief(text)}")
    if not (many and listed) and len(texts) != 1:
        raise ValueError(f"{where} has {len(texts)} hypotheses; expected one an item")
    return Entry(place, key, list(texts), whole=listed or not many)


def _merged(entries: Sequence[Entry]) -> dict[int | str, list[str]]:
    items: dict[int | str, list[str]] = {}
    for number, entry in enumerate(entries):
        items.setdefault(number if entry.key is None else entry.key, []).extend(entry.texts)
    return items


def _first(keys: Sequence[int | str]) -> str:
    return ", ".join(map(shown, keys[:3])) + (", ..." if len(keys) > 3 else "")
