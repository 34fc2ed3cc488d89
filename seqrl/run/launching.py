"""Starts a command in several processes that find each other, and ends with them; `torchrun` does the same over several machines.

Nothing large is imported here: this process only waits.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO, Any

from seqrl.failures import LAUNCHER
from seqrl.run.interrupt import Handlers, exit_code

OPTION = "--num_processes"
# When one has failed the others end by themselves within seconds; who does not is asked to after so long, and killed later.
GRACE_S, LAST_GRACE_S, LOOK_EVERY_S = 20.0, 10.0, 0.05
MOST_LINES = 1000
# What one says that ends because of another, see `seqrl.peers`.
FOLLOWED = re.compile(rb"process (\d+) \(pid \d+ on [^)]*\) ended: ")


def check_number(number: int | None, environment: Mapping[str, str]) -> int:
    """Give how many processes are to be started; 1 where this one is to do the work.

    Args:
        number: as asked for; None for one, or for as many as a launcher has started.
        environment: of this process, in which a launcher leaves its own number.

    Raises:
        ValueError: when it is not positive, or not the launcher's.
    """
    if number is None:
        return 1
    if number < 1:
        raise ValueError(f"{OPTION}: expected at least 1, got {number}")
    launched = environment.get("WORLD_SIZE")
    if launched is None:
        return number
    if int(launched) != number:
        raise ValueError(
            f"{OPTION}: expected {launched}, as many as torchrun has started, or none, got {number}; leave it to one of the two"
        )
    return 1


def launch(arguments: Sequence[str], number: int) -> int:
    """Do `seqrl ARGUMENTS` in several processes on this machine; give the exit code: 0 when all end well, else what ended them.

    Signals are handed on to all of them. What several say alike on stderr is shown once.

    Args:
        arguments: of the command, without those of this function.
        number: of processes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, LAUNCHER: os.getpid()}
    command = [sys.executable, "-m", "seqrl", *arguments]
    processes: list[subprocess.Popen[bytes]] = []
    handlers, asked = Handlers(), list[int]()

    def hand_on(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)
        for process in processes:
            process.send_signal(signum)

    handlers.set(hand_on)
    try:
        for rank in range(number):
            own = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            processes.append(subprocess.Popen(command, env=os.environ | own, stderr=subprocess.PIPE))
        show = _Shown(sys.stderr.buffer if hasattr(sys.stderr, "buffer") else None)
        readers = [threading.Thread(target=show.read, args=(rank, process.stderr)) for rank, process in enumerate(processes)]
        for reader in readers:
            reader.start()
        _wait(processes, asked)
        for reader in readers:
            reader.join(timeout=1.0)
        show.finish()
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        handlers.put_back()
    return _code([process.wait() for process in processes])


def without_option(arguments: Sequence[str]) -> list[str]:
    """Leave the number of processes out of a command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(OPTION)
    return parser.parse_known_args(arguments)[1]


def _wait(processes: Sequence[subprocess.Popen[bytes]], asked: Sequence[int]) -> None:
    """Wait for all; end those that are left when one has failed, unless a signal has asked all to end, which may take long."""
    failed_at = 0.0
    while any(process.poll() is None for process in processes):
        time.sleep(LOOK_EVERY_S)
        for rank, process in enumerate(processes):
            code = process.poll()
            if code and not failed_at:
                failed_at = time.monotonic()
                if code < 0 and not asked:
                    name = signal.Signals(-code).name
                    print(f"seqrl: process {rank} of {len(processes)} (pid {process.pid}) was ended by {name}", file=sys.stderr, flush=True)
        waited = time.monotonic() - failed_at if failed_at and not asked else 0.0
        for process in processes:
            if process.poll() is None and waited > GRACE_S:
                process.send_signal(signal.SIGKILL if waited > GRACE_S + LAST_GRACE_S else signal.SIGTERM)
        if waited > GRACE_S:
            time.sleep(1.0)


def _code(codes: Sequence[int]) -> int:
    """Choose one exit code: that of a signal or of bad input before that of those who only follow."""
    failed = [code for code in codes if code]
    chosen = [code for code in failed if code > 1] or [code for code in failed if code > 0]
    return chosen[0] if chosen else exit_code(-failed[0]) if failed else 0


class _Shown:
    """Shows lines of several processes, those that one says after another only once.

    Args:
        stream: where to; None for nowhere.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._said: dict[bytes, int] = {}
        self._speakers: set[int] = set()
        self._followed: list[tuple[int, bytes]] = []

    def read(self, rank: int, lines: IO[bytes]) -> None:
        """Show a process's lines until it ends."""
        for line in lines:
            with self._lock:
                followed = FOLLOWED.search(line)
                if followed is not None:
                    self._followed.append((int(followed[1]), line))
                    continue
                first = self._said.setdefault(line, rank) if line.strip() else rank
                if len(self._said) > MOST_LINES:
                    del self._said[next(iter(self._said))]
                if first == rank:
                    self._speakers.add(rank)
                    self._write(line)

    def finish(self) -> None:
        """Show why one ended, as another tells it, where it has not said so itself."""
        for rank, line in self._followed:
            if rank not in self._speakers:
                self._write(line)

    def _write(self, line: bytes) -> None:
        if self._stream is not None:
            self._stream.write(line)
            self._stream.flush()
