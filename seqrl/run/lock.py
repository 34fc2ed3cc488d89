"""One process at a time works in a run's folder; the operating system's lock ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from seqrl.distributed import is_main
from seqrl.peers import condition_of
from seqrl.run.exchange import is_at
from seqrl.run.run_folder import cannot_write

# There while a process works in the folder, and after one that was killed; says who that is.
LOCK = ".lock"
UNKNOWN = "another process, which does not say who it is"
LONGEST_COMMAND, LONGEST_FILE = 200, 4096
# Whoever only looks whether a folder is in use holds its lock for a moment, too; and a holder needs one to write who it is.
PATIENCE_S, PAUSE_S = 0.3, 0.02
# What file systems answer that keep no locks, over a network for instance.
WITHOUT_LOCKS = "the file system keeps no locks, so a run of the same name on another machine is not noticed"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
# Neither through a link, nor waiting for somebody at the other end of a pipe.
NO_TRICKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Descriptors of the locks that this process holds, by folder and thread.
_held: dict[tuple[str, int], int] = {}


@dataclass(frozen=True)
class Holder:
    """Who works in a folder.

    Attributes:
        pid: number of the process.
        host: its machine.
        since: when it began.
        command: its command line.
    """

    pid: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} (`{self.command}`)"


@contextlib.contextmanager
def hold(folder: Path | None) -> Iterator[None]:
    """Let nobody else work in a folder meanwhile; the same thread may enter again. Of several processes the main one does it for all.

    Args:
        folder: of a run; made with its parents where they are missing, which are removed again when nothing has come into them. None
            holds nothing.

    Raises:
        BlockingIOError: when another process, or another thread, works there; naming it. Nothing has been changed then.
        OSError: when the folder cannot be written.
    """
    key = (os.path.realpath(folder or ""), threading.get_ident())
    if folder is None or not is_main() or key in _held:
        yield
        return
    new = [each for each in (folder, *folder.parents) if not each.exists()]  # the innermost first
    _held[key] = _take(folder)
    try:
        yield
    finally:
        # A process that was forked inside has none of its own.
        if key in _held:
            _release(folder, _held.pop(key))
            with contextlib.suppress(OSError):
                for each in new:
                    each.rmdir()


def holder_of(folder: Path) -> str | None:
    """Say who works in a folder now; None for nobody, also where a file system keeps no locks."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | NO_TRICKS)
    except OSError:
        return None
    try:
        return str(_said(descriptor) or UNKNOWN) if _lock(descriptor, shared=True) is False else None
    finally:
        os.close(descriptor)


def _take(folder: Path) -> int:
    """Give the descriptor that the lock hangs on."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            descriptor = _open(folder)
        except FileNotFoundError as error:
            # Another process has just removed the folder, or one above it, in which nothing was.
            if time.monotonic() > end:
                raise cannot_write(folder, error) from error
            time.sleep(PAUSE_S)
            continue
        try:
            locked, before = _lock(descriptor), _said(descriptor)
            # Between opening and locking the one before may have removed the file, or the folder.
            if (_is_gone(before) if locked is None else locked) and is_at(folder / LOCK, descriptor):
                _own(folder, descriptor, before)
                if locked is None:
                    print(f"seqrl: {folder}: {WITHOUT_LOCKS}", file=sys.stderr)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > end:
            raise BlockingIOError(f"{folder}: is in use by {before or UNKNOWN}; wait for its end, or stop it first")
        time.sleep(PAUSE_S)


def _open(folder: Path) -> int:
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_TRICKS, 0o666)
    except FileNotFoundError:  # `_take` tries again
        raise
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: expected a plain file, which says who works in the folder; remove it")
    return descriptor


def _lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Try to lock; say whether it worked, None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except ImportError:  # Windows has none
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _is_gone(before: Holder | None) -> bool:
    """Say whether the process that wrote a lock file is not there any more, as far as this machine can tell."""
    if before is None or before.host != socket.gethostname() or before.pid == os.getpid():
        return True
    return condition_of(before.pid) == "gone"


def _own(folder: Path, descriptor: int, before: Holder | None) -> None:
    if before is not None:
        print(f"seqrl: {folder}: took over the lock that a dead process left: {before}", file=sys.stderr)
    name = Path(sys.argv[0]).name
    command = shlex.join([Path(sys.argv[0]).parent.name if name == "__main__.py" else name, *sys.argv[1:]])
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = Holder(os.getpid(), socket.gethostname(), since, command[:LONGEST_COMMAND])
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, (json.dumps(asdict(holder)) + "\n").encode())
    except OSError as error:
        raise cannot_write(folder, error) from error


def _said(descriptor: int) -> Holder | None:
    """Read who holds a lock; a stranger's file may hold anything."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        said = json.loads(os.read(descriptor, LONGEST_FILE).decode())
        texts = ["".join(char if char.isprintable() else "?" for char in str(said[name])) for name in ("host", "since", "command")]
        return Holder(int(said["pid"]), *texts)
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return None


def _release(folder: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        if is_at(folder / LOCK, descriptor):
            os.unlink(folder / LOCK)
        os.ftruncate(descriptor, 0)  # in a folder that was moved it lies somewhere else now
    os.close(descriptor)


def _let_go_in_child() -> None:
    """A forked process, such as an environment's, must not keep the lock when its parent dies."""
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
