"""Where the processes of a run meet: each exchange says where, and a process that fails ends the others; trivial for a single process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from seqrl.failures import ProcessLost
from seqrl.peers import AT_WORK, FINISHED, FOLLOWED, Peer, Peers, default_store

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_peers: Peers | None = None
_patient: Any = None


def meet(timeout_s: float) -> None:
    """Learn who the processes are, once they are connected; every process must call it."""
    global _peers, _patient
    if current() is not None:
        return
    number, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    store = default_store()
    store.set(f"seqrl/beat/{number}", "0 0 ")
    store.set(f"seqrl/left/{number}", AT_WORK)
    peers: list[Any] = [None] * size
    torch.distributed.all_gather_object(peers, (socket.gethostname(), os.getpid()))
    # For waits that have no end while the main process is at work.
    _patient = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=365))
    _peers = Peers(number, [Peer(index, *peer) for index, peer in enumerate(peers)], timeout_s)


def refuse_parted() -> None:
    """Refuse more work of processes whose connections an error has broken.

    Raises:
        ProcessLost: saying so.
    """
    if _peers is not None and _peers.parted:
        raise ProcessLost("the processes have parted, since one of them failed; mend that, and start them together again")


def current() -> Peers | None:
    """Give the processes that are connected now; None for a single one."""
    if _peers is None or not torch.distributed.is_initialized() or _peers.world is not torch.distributed.group.WORLD:
        return None
    return _peers


def meeting(where: str) -> AbstractContextManager[None]:
    """Surround a collective operation, see `Peers.meeting`.

    Args:
        where: stands after "waited", for instance "in an optimiser step".
    """
    peers = current()
    return nullcontext() if peers is None else peers.meeting(where)


def patient_barrier() -> Any:
    """Begin a barrier without a time limit; gives the work, see `torch.distributed.Work`."""
    return torch.distributed.barrier(group=_patient, async_op=True)


def told_to_others(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function that fails in one process end the others at once, who would wait for it."""

    @wraps(function)
    def told(*arguments: Arguments.args, **settings: Arguments.kwargs) -> Result:
        try:
            enter()
            result = function(*arguments, **settings)
        except BaseException as error:
            peers = current()
            if peers is not None:
                words = " ".join(str(error).split())
                peers.part(FOLLOWED if isinstance(error, ProcessLost) else f"{type(error).__name__}: {words[:500]}")
            raise
        leave()
        return result

    return told


def enter() -> None:
    """Begin what the processes do together."""
    peers = current()
    if peers is not None:
        peers.depth += 1
        if peers.depth == 1:
            peers.say(AT_WORK)


def leave() -> None:
    """End it."""
    peers = current()
    if peers is not None and peers.depth:
        peers.depth -= 1
        if not peers.depth:
            peers.say(FINISHED)
