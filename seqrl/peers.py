"""Which of a run's processes has ended, is stopped, or does not come to where the others wait; nothing here waits for an answer.

A thread tells the others every half second how often this process has met them, and where last, through the store that the processes
found each other by. That is no collective and costs an update nothing; of a process on the same machine the system knows more.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqrl.failures import LAUNCHER, ProcessLost

BEAT_S, SILENT_S = 0.5, 5.0
# After so long something is said of who does not come, and not again for a while.
NOTICE_S, NOTICE_AGAIN_S = 30.0, 300.0
# How long to look for the reason of a broken connection, and to let others read why this process ends.
LOOK_S, LINGER_S = 2.0, 1.2
# On accelerators nothing raises where a process is gone; one that has not moved for so long beside such a one ends itself.
STUCK_S = 20.0
AT_WORK, FINISHED, FOLLOWED = "-", "+", ""
_WORDS = ("gloo", "nccl", "closed", "timed out", "connection", "socket", "broken pipe", "remote process", "store")


@dataclass(frozen=True)
class Peer:
    """A process of the run: its number, its machine, and its number there."""

    number: int
    machine: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.number} (pid {self.pid} on {self.machine})"

    def condition(self) -> str:
        """Say what `condition_of` says of processes of this machine; nothing of others."""
        return condition_of(self.pid) if self.machine == socket.gethostname() else ""


def condition_of(pid: int) -> str:
    """Say "gone" or "stopped" of a process of this machine where the system knows it, as it does of its own."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if Path("/proc/self/stat").exists() else ""
    except (ProcessLookupError, FileNotFoundError):
        return "gone"
    except (PermissionError, IndexError):
        return ""
    return "gone" if state in ("Z", "X") else "stopped" if state in ("T", "t") else ""


@dataclass
class Beat:
    """The last sign of another process: how often it has met the others, where last, since when it is the same, and why it ended."""

    text: str = ""
    since: float = 0.0
    count: int = 0
    where: str = ""
    left: str = AT_WORK


class Peers:
    """Knows the processes that are connected.

    Args:
        number: of this process.
        peers: all of them, in their order.
        timeout_s: how long one waits for another.
    """

    def __init__(self, number: int, peers: list[Peer], timeout_s: float) -> None:
        self.number, self.peers, self.timeout_s = number, peers, timeout_s
        self.world: Any = torch.distributed.group.WORLD
        self.count, self.where, self.moved_at, self.depth = 0, "", time.monotonic(), 0
        self.beats = {peer.number: Beat(since=time.monotonic()) for peer in peers if peer.number != number}
        self._host = default_store()  # kept, since with the first process it would end
        self._own, self._shared = default_store().clone(), default_store().clone()
        self._period_s = BEAT_S * max(1.0, len(peers) / 8)
        self._passes, self._read_at, self._said_at = 0, 0.0, -NOTICE_AGAIN_S
        self._wake, self._over, self._store_lost = threading.Event(), False, False
        self.parted = False
        # Whether this process waits for the main one, which may take as long as it likes.
        self.patient = False
        self._thread = threading.Thread(target=self._watch, name="seqrl-peers", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """End the thread; one that came back from C++ while Python ends would break the process off."""
        self._over = True
        self._wake.set()
        self._thread.join(timeout=2 * BEAT_S)

    def say(self, text: str) -> None:
        """Tell the others that this process is at work, has finished, or why it ends."""
        self._own.set(f"seqrl/left/{self.number}", text)

    @contextmanager
    def meeting(self, where: str) -> Iterator[None]:
        """Count a collective operation; give what breaks in it in plain words.

        Raises:
            ProcessLost: when another process has ended, or did not come in time.
        """
        self.where, self.moved_at = where, time.monotonic()
        self.count += 1
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, ProcessLost):
                raise
            found = self.explain(look=True)
            if not found and not any(word in str(error).lower() for word in _WORDS):
                raise
            words = str(error).splitlines()[0].partition(". ")[0]
            raise ProcessLost(found or f"the connection to the other processes broke; {self._here()} ({words})") from error

    def explain(self, *, look: bool = False) -> str:
        """Say which process has ended or does not come; nothing where all is well.

        Args:
            look: a connection broke, so that there is something to be found; wait for it a moment.
        """
        if look:
            end, passes = time.monotonic() + LOOK_S, self._passes
            while time.monotonic() < end and not (self._found() and (self._store_lost or self._passes >= passes + 2)):
                self._wake.set()
                time.sleep(0.02)
        found = self._found() or (self._late() if look else [])
        return f"{'; '.join(found)}; {self._here()}" if found else ""

    def main_is_away(self) -> str:
        """Say so where the main process has ended, or is stopped or silent; nothing while it works, however long."""
        return next((text for text in self._found() if text.startswith(str(self.peers[0]))), "")

    def _found(self) -> list[str]:
        """Name those that ended with an error, or else those that are gone, or stopped, or silent."""
        others = [(self.peers[number], beat) for number, beat in self.beats.items() if beat.left not in (FINISHED, FOLLOWED)]
        ended = [f"{peer} ended: {beat.left}" for peer, beat in others if beat.left != AT_WORK]
        conditions = {peer: peer.condition() for peer, _ in others}
        gone = [f"{peer} is gone: it was killed or broke down" for peer in conditions if conditions[peer] == "gone"]
        gone = gone[:1] if self._store_lost else gone  # the others follow it, and cannot say so
        stopped = [f"{peer} is stopped; `kill -CONT {peer.pid}` lets it go on" for peer in conditions if conditions[peer] == "stopped"]
        now, limit = time.monotonic(), max(SILENT_S, 4 * self._period_s)
        # Without the store, which the first process holds, nobody hears of anybody.
        heard = [(peer, beat) for peer, beat in others if peer.number == 0 or not self._store_lost]
        silent = [f"{peer} has given no sign for {now - beat.since:.0f} s" for peer, beat in heard if now - beat.since > limit]
        return ended or gone or stopped or silent

    def _late(self) -> list[str]:
        """Name those that are at work elsewhere."""
        late = [(self.peers[number], beat) for number, beat in self.beats.items() if beat.count < self.count and beat.left == AT_WORK]
        waited = time.monotonic() - self.moved_at
        return [f"{peer} has not come for {waited:.0f} s; it last met the others {beat.where or 'at the start'}" for peer, beat in late]

    def _here(self) -> str:
        beside = [number for number, beat in self.beats.items() if beat.count == self.count and beat.left == AT_WORK]
        waiting = [self.number, *(number for number in beside if not self.peers[number].condition())]
        who = f"process {waiting[0]}" if len(waiting) == 1 else f"processes {', '.join(map(str, sorted(waiting)))}"
        return f"{who} waited {self.where}" if self.where else f"{who} waited"

    def _watch(self) -> None:
        """Beat, and look at the others, until the processes part."""
        keys = [f"seqrl/{kind}/{number}" for number in self.beats for kind in ("beat", "left")]
        ticks, woken, alone = 0, False, False
        while not self._over:
            if self.number and self.peers[0].condition() == "gone" and _first_holds_store():
                self._store_lost = True
                return
            try:
                self._shared.set(f"seqrl/beat/{self.number}", f"{ticks} {self.count} {self.where}")
                if woken or time.monotonic() - self.moved_at > BEAT_S:  # else nobody waits for long
                    self._read(keys)
            except Exception:  # whatever its kind: the first process took the store with it
                self._store_lost = True
                return
            ticks += 1
            self._notice()
            if self.depth and not alone and _launcher_is_gone():
                alone = True
                os.kill(os.getpid(), signal.SIGTERM)
            woken = self._wake.wait(self._period_s)
            self._wake.clear()

    def _read(self, keys: list[str]) -> None:
        """Take in the signs of the others."""
        values = [value.decode() for value in self._shared.multi_get(keys)]
        now = time.monotonic()
        # Only a sign that was looked for can be missed.
        missed = now - self._read_at > 2 * self._period_s
        self._read_at = now
        for index, beat in enumerate(self.beats.values()):
            text, beat.left = values[2 * index : 2 * index + 2]
            if text != beat.text or missed:
                beat.text, beat.since = text, now
                _, count, beat.where = text.split(" ", 2)
                beat.count = int(count)
        self._passes += 1

    def _notice(self) -> None:
        """Say on stderr who is waited for, once in a while; end a process that an accelerator would let wait for ever."""
        waited = time.monotonic() - self.moved_at
        if not self.depth or waited < min(NOTICE_S, STUCK_S) or self.world is not torch.distributed.group.WORLD:
            return
        found = self._found()
        if (
            waited > STUCK_S
            and found
            and torch.accelerator.is_available()
            and not any(" stopped" in text or " no sign " in text for text in found)
        ):
            print(f"seqrl: {self.explain()}", file=sys.stderr, flush=True)
            os._exit(1)
        first = all(number > self.number or beat.count < self.count for number, beat in self.beats.items())
        late = [] if self.patient and not found else self._late()
        if waited > NOTICE_S and late and first and time.monotonic() - self._said_at > NOTICE_AGAIN_S:
            self._said_at = time.monotonic()
            reason = "; ".join(found or late)
            waits = f"waiting for {waited:.0f} s {self.where}, up to {self.timeout_s:.0f} s"
            print(f"seqrl: {waits}: {reason}", file=sys.stderr, flush=True)

    def part(self, text: str) -> None:
        """Leave for good: tell why, and break the connections, so that nobody waits for this process.

        Args:
            text: the reason; `FOLLOWED` where another process was first.
        """
        self.parted = True
        with suppress(Exception):  # the store may be gone, which is what this is about
            self.say(text)
        torch.distributed.distributed_c10d._abort_process_group()
        if self.number == 0 and _first_holds_store():
            time.sleep(LINGER_S)
        self.close()


def default_store() -> Any:
    """Give the store by which the processes found each other."""
    return torch.distributed.distributed_c10d._get_default_store()


def _first_holds_store() -> bool:
    """Say whether the store ends with the first process; that of torchrun does not."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def _launcher_is_gone() -> bool:
    """Say whether `seqrl --num_processes`, which would hand signals on, has ended before this process."""
    launcher = os.environ.get(LAUNCHER)
    return launcher is not None and os.getppid() != int(launcher)
