"""Where METEOR keeps what it has made of its table of paraphrases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def meteor_cache_folder() -> Path:
    """Give `meteor` in the folder of prepared data: `$SEQRL_CACHE`, or `~/.cache/seqrl`."""
    chosen = os.environ.get("SEQRL_CACHE")
    return (Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "seqrl") / "meteor"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time make the file at `path`, where the system has locks and the folder can be written; others wait here."""
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f"{path.name}.lock").open("wb")
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing and rename it into place once the block has ended without an error."""
    temporary = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
