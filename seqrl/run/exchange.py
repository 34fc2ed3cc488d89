"""Puts a new folder into the place of an old one, so that whoever looks finds one of the two."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

# As in linux/fcntl.h and linux/fs.h.
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# What systems and file systems answer that cannot exchange.
CANNOT = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}


def replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder to a name that may be taken; what has it is deleted, from under another name.

    Args:
        new: on the same file system, whole and flushed.
        folder: its name from now on.
    """
    old = None
    with _signals_wait():
        if not folder.exists():
            os.rename(new, folder)
        elif exchange(new, folder):
            old = new
        else:
            # A folder that is not empty cannot be replaced in one call; readers know of the moment without one.
            old = hidden(folder)
            os.rename(folder, old)
            os.rename(new, folder)
    flush(folder.parent)
    if old is not None:
        shutil.rmtree(old)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders exchange their names at once; say whether that is possible here."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def replace_text(path: Path, text: str) -> None:
    """Write a file beside its place, and rename it when it is whole and on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    flush(partial)
    os.replace(partial, path)


def hidden(folder: Path, mark: str = "") -> Path:
    """Give a name beside a folder that nobody takes for a checkpoint; a new one when no mark is given."""
    return folder.with_name(f".{folder.name}.{mark or uuid.uuid4().hex[:8]}.partial")


def is_at(path: Path, descriptor: int) -> bool:
    """Say whether an open file is the one of a name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def flush(path: Path) -> None:
    """Make sure that a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Let signals wait for the few microseconds between two renames."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
