"""The one reader of the JSON in a run's folder, which may be somebody else's.

`seqrl.metrics.limits` and `text_files` hold the same bounds for data: the core may not import the metrics, nor they the core.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Any

MOST_CHARACTERS = 200


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Raises:
        OSError: when it cannot be read.
        ValueError: naming the file, when it holds something else or is no file.
    """
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, but {error}; the file is damaged") from error


def read_text(path: Path) -> str:
    """Read a file of a run as text.

    Raises:
        OSError: when it cannot be read.
        ValueError: naming the file, when it is none or holds something else.
    """
    try:
        return require_regular(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got the byte 0x{error.object[error.start]:02x}; the file is damaged") from error


def parse_json(text: str) -> Any:
    """Parse JSON from anybody.

    Raises:
        json.JSONDecodeError: when it is no JSON, or nested more deeply than Python's stack, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("lists or objects are nested too deeply to be read", text, 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(f"a number in it is too long ({error})", text, 0) from error


def require_regular(path: Path) -> Path:
    """Give the path back unless it is there but no file: a pipe without a writer would be waited for without end.

    Raises:
        ValueError: when it is a folder, a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file, got a folder, a pipe, a socket or a device; name a file")
    return path


def brief(value: Any) -> str:
    """Write a value for a message as `repr` does, in about 200 characters at most, however large or deep it is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, MOST_CHARACTERS, MOST_CHARACTERS
        self.maxlist = self.maxtuple = self.maxdict = 10

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write whole numbers of more than 4,300 digits.
        return repr(x) if x.bit_length() <= 256 else f"a whole number of {x.bit_length()} bits"


_BRIEF = _Brief()
