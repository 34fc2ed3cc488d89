"""What one process of several knows of the others; with a single process every function is trivial.

`torchrun` and `accelerate launch` set RANK and WORLD_SIZE; the process group itself is made with the trainer's optimiser.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from seqrl.accelerator import is_connected
from seqrl.failures import ProcessLost
from seqrl.meetings import current, meeting, patient_barrier
from seqrl.peers import Peers

Anything = TypeVar("Anything")
# Far apart, so that the seeds of neighbouring runs and those of their processes do not meet.
SEED_STRIDE = 1_000_003
WAIT_S, LOOK_EVERY_S = 0.02, 0.5


def process_index() -> int:
    """Give this process's number, 0 for the main one."""
    return int(os.environ.get("RANK", 0)) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0


def is_main() -> bool:
    """Say whether this is the process that writes files and speaks."""
    return process_index() == 0


def data_seed(seed: int) -> int:
    """Give a seed of this process's own, so that no two processes draw the same data; that of the main one is `seed`."""
    return seed + SEED_STRIDE * process_index()


def num_processes() -> int:
    """Count the processes that are connected."""
    return torch.distributed.get_world_size() if is_connected() else 1


def wait_for_all(where: str = "for all") -> None:
    """Go on when every process has come here.

    Args:
        where: see `seqrl.meetings.meeting`.
    """
    if is_connected():
        with meeting(where):
            torch.distributed.barrier()


def total(numbers: Sequence[float], device: torch.device) -> list[float]:
    """Add up each number over the processes; every process must call it.

    Args:
        numbers: as many in each process.
        device: where the policy is, which the processes exchange tensors on.
    """
    if not is_connected():
        return list(numbers)
    # MPS has no double precision, but no processes either.
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    with meeting("at the end of an update"):
        torch.distributed.all_reduce(sums)
    return sums.tolist()


def from_main(value: Anything, where: str = "for the main process") -> Anything:
    """Give what the main process has as `value`, when it has it: others wait as long as it is at work; every process must call it.

    Args:
        value: any that can be pickled; that of the others does not matter.
        where: see `seqrl.meetings.meeting`.
    """
    if not is_connected():
        return value
    wait_for_main(where)
    box: list[Any] = [value]
    with meeting(where):
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def wait_for_main(where: str = "for the main process", asked: Callable[[], int] = lambda: 0) -> None:
    """Wait until every process has come here, the main one last, which may be at work for long.

    Waiting inside of `torch.distributed` would hear no signal, and end at its time limit. Every process must call it.

    Args:
        where: see `seqrl.meetings.meeting`.
        asked: gives the number of the signal that has come, 0 for none; it is handed on to the main process.

    Raises:
        ProcessLost: when the main process has ended, or is stopped for longer than the time limit, or others do not come to the main one.
    """
    peers = current()
    if not is_connected() or peers is None:
        return
    with peers.meeting(where):
        work, told, main = patient_barrier(), is_main(), peers.peers[0]
        begin = looked_at = time.monotonic()
        peers.patient = not is_main()
        while not work.is_completed():
            time.sleep(WAIT_S)
            if asked() and not told:
                told = True
                if main.machine == socket.gethostname():
                    os.kill(main.pid, signal.SIGTERM)
            now = time.monotonic()
            if now - looked_at > LOOK_EVERY_S:
                looked_at = now
                _look(peers, now - begin)
        peers.patient = False
        work.wait()


def _look(peers: Peers, waited_s: float) -> None:
    """Raise `ProcessLost` where waiting longer is of no use."""
    away = peers.explain(look=waited_s > peers.timeout_s) if is_main() else peers.main_is_away()
    broken = " gone: " in away or " ended: " in away
    if away and (broken or waited_s > peers.timeout_s):
        raise ProcessLost(away)


def from_all(value: Anything) -> list[Anything]:
    """Give the `value` of every process, in their order; every process must call it."""
    if not is_connected():
        return [value]
    box: list[Any] = [None] * num_processes()
    with meeting("for the figures of all"):
        torch.distributed.all_gather_object(box, value)
    return box
