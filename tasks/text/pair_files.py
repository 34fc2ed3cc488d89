"""Pairs of texts from files: two aligned files, or JSON lines."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from seqrl.metrics.limits import brief, require_regular
from seqrl.metrics.text_files import json_lines_of, lines_of, read_text, text_of
from seqrl.tasks.text.pairs import Pairs, are_messages, as_prompts, joined_turns

# More than any corpus of sentences that fits in memory; a small archive may unpack to anything.
_MOST_BYTES = 2**31


def read_aligned(prompts: Path, references: Path) -> Pairs:
    """Read two files of which line i of one belongs to line i of the other; names in .gz are unpacked.

    Raises:
        FileNotFoundError: when one is not there.
        ValueError: when they have different numbers of lines, a reference is empty, or one is no text.
    """
    sources, targets = (lines_of(_read(path)) for path in (prompts, references))
    if len(sources) != len(targets):
        raise ValueError(f"{references}: expected {len(sources)} lines, as {prompts} has, got {len(targets)}; line i answers line i")
    places = [f"{references}, line {number}" for number in range(1, len(targets) + 1)]
    return Pairs(sources, [[target] for target in targets], places)


def read_json_pairs(path: Path) -> Pairs:
    """Read a JSON object a line: `prompt`, a text, a list of turns or of messages, and `references`, a list of texts (or `reference`, one).

    What else a line holds are columns for rewards in TRL's form; None where a line has no such key.

    Raises:
        FileNotFoundError: when it is not there.
        ValueError: when a line is something else, naming it, or only some prompts are lists of messages.
    """
    prompts, references, places = list[Any](), list[list[str]](), list[str]()
    rest = list[dict[str, Any]]()
    for place, value in json_lines_of(_read(path), str(path)):
        if not isinstance(value, dict) or "prompt" not in value or not ({"references", "reference"} & set(value)):
            raise ValueError(f'{place}: expected {{"prompt": ..., "references": [...]}}, got {brief(str(value))}')
        texts = value["references"] if "references" in value else [value["reference"]]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{place}: expected references as a list of texts, got {brief(str(texts))}")
        prompts.append(_prompt(value["prompt"], place))
        references.append(texts)
        places.append(place)
        rest.append({key: each for key, each in value.items() if key not in ("prompt", "references", "reference")})
    try:
        texts, messages = as_prompts(prompts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    names = dict.fromkeys(name for row in rest for name in row)
    return Pairs(texts, references, places, messages, {name: [row.get(name) for row in rest] for name in names})


def _prompt(value: Any, place: str) -> Any:
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return joined_turns(value)
    if not isinstance(value, str) and not are_messages(value):
        raise ValueError(f"{place}: expected a prompt as a text or a list of turns or messages, got {brief(str(value))}")
    return value


def _read(path: Path) -> str:
    if path.suffix != ".gz" or not path.exists():
        return read_text(path)
    try:
        with gzip.open(require_regular(path)) as file:
            data = file.read(_MOST_BYTES)
            if file.read(1):
                raise ValueError(f"{path}: expected at most {_MOST_BYTES} bytes of text, got more; cut it into parts")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a gzip file, but {error}; make it anew") from error
    return text_of(data, str(path))
