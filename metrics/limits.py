"""Bounds on what is read from files that somebody else has made: no pipes, no bombs, no endless error texts."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

# So much is unpacked without a question; it is little beside what a training run takes.
UNPACKED_FREELY = 64 * 2**20
# Beyond that, packed files that grow more are bombs: images, tables and arrays of counts shrink to a twentieth at best.
MOST_TIMES = 100
MOST_CHARACTERS = 200


def require_regular(path: Path | str) -> Path:
    """Give the path back unless it is there but no file: a pipe without a writer would be waited for without end.

    Raises:
        ValueError: when it is a folder, a pipe, a socket or a device.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a file, got a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file, got a pipe, a socket or a device; write its content to a file first")
    return path


def refuse_bomb(place: str, packed: int, unpacked: int) -> None:
    """Refuse what would grow out of all proportion, before any of it is unpacked.

    Args:
        place: named in the message.
        packed: bytes in the file.
        unpacked: bytes that the file says it holds.

    Raises:
        ValueError: saying both sizes.
    """
    if unpacked > UNPACKED_FREELY and unpacked > MOST_TIMES * packed:
        raise ValueError(
            f"{place}: expected at most {MOST_TIMES} times its {packed} bytes when unpacked, got {unpacked}; "
            "if you trust it, unpack it yourself"
        )


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
