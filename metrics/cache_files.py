"""Where prepared data is kept between runs, and how it is written so that no half of it is ever seen."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_STALE_AFTER_SECONDS = 86_400


def cache_folder() -> Path:
    """Give the folder of prepared data: `$SEQRL_CACHE`, or `~/.cache/seqrl`."""
    chosen = os.environ.get("SEQRL_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "seqrl"


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


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
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing and rename it into place once the block has ended without an error.

    Args:
        path: the file to appear; its folder exists.

    Raises:
        OSError: when the disk is full or the folder cannot be written.
    """
    _remove_stale(path)
    temporary = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f"{path.parent}: the disk is full; make room, or set SEQRL_CACHE to another disk") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove what a killed process left behind."""
    for leftover in path.parent.glob(f"{path.name}.part-*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _STALE_AFTER_SECONDS:
                leftover.unlink()
