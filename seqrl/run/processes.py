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

Anything = TypeVar("Anything")
# Far apart, so that the seeds of neighbouring runs and those of their processes do not meet.
SEED_STRIDE = 1_000_003
WAIT_S = 0.02


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


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if is_connected():
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
    torch.distributed.all_reduce(sums)
    return sums.tolist()


def from_main(value: Anything) -> Anything:
    """Give what the main process has as `value`; every process must call it."""
    if not is_connected():
        return value
    box: list[Any] = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def meet_main(main: tuple[str, int], asked: Callable[[], int]) -> None:
    """Wait until every process has come here; one that is asked to end by a signal meanwhile hands it on to the main process.

    Waiting inside of `torch.distributed` would hear no signal. Every process must call it, the others while the main one is still at work.

    Args:
        main: see `main_process`.
        asked: gives the number of the signal that has come, 0 for none.
    """
    if not is_connected():
        return
    work, told = torch.distributed.barrier(async_op=True), is_main()
    while not work.is_completed():
        time.sleep(WAIT_S)
        if asked() and not told:
            told = True
            if main[0] == socket.gethostname():
                os.kill(main[1], signal.SIGTERM)


def main_process() -> tuple[str, int]:
    """Give the main process's machine and number there, for `meet_main`; every process must call it."""
    return from_main((socket.gethostname(), os.getpid()))


def from_all(value: Anything) -> list[Anything]:
    """Give the `value` of every process, in their order; every process must call it."""
    if not is_connected():
        return [value]
    box: list[Any] = [None] * num_processes()
    torch.distributed.all_gather_object(box, value)
    return box
