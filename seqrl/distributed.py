"""What one process of several knows of the others: its rank, what is exchanged with them, and averages over them all.

With a single process every function is trivial. `torchrun` and `accelerate launch` set RANK and WORLD_SIZE; devices, precision and the
process group are accelerate's business, where there is any of it.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seqrl.failures import TIMEOUT_S, ProcessLost
from seqrl.functional.reductions import AverageOver, count_of, masked_mean, masked_sum
from seqrl.meetings import current, meet, meeting, patient_barrier, refuse_parted
from seqrl.peers import Peers

Anything = TypeVar("Anything")
# How torchrun and the launchers of MPI tell a process the number of its like.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
# Far apart, so that the seeds of neighbouring runs and those of their processes do not meet.
SEED_STRIDE = 1_000_003
WAIT_S, LOOK_EVERY_S = 0.02, 0.5
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Work for a while as if this process were the only one, so that nothing waits for the others."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def num_launched() -> int:
    """Count the processes that were started together, as their launcher says; 1 where there is none."""
    return 1 if _ALONE.get() else max(int(os.environ.get(name) or 1) for name in WORLD_SIZES)


def available_cores(*, shared_out: bool = True) -> int:
    """Count the cores that this process may use, its share where several were launched together, unless told not to share them out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // num_launched()) if shared_out else cores


def is_connected() -> bool:
    """Say whether the processes can exchange tensors."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and not _ALONE.get()


def process_index() -> int:
    """Give this process's number, 0 for the main one."""
    return int(os.environ.get("RANK", 0)) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0


def is_main() -> bool:
    """Say whether this is the process that writes files and speaks."""
    return process_index() == 0


def num_processes() -> int:
    """Count the processes that are connected."""
    return torch.distributed.get_world_size() if is_connected() else 1


def data_seed(seed: int) -> int:
    """Give a seed of this process's own, so that no two processes draw the same data or actions; that of the main one is `seed`."""
    return seed + SEED_STRIDE * process_index()


def connect(timeout_s: float = TIMEOUT_S) -> None:
    """Connect the processes that were launched together; nothing to do where there is one, or where they are.

    Args:
        timeout_s: how long one waits for another, but for the main process while it evaluates or saves.
    """
    if num_launched() > 1 and (not is_connected() or current() is None):
        make_accelerator("fp32", timeout_s)


def make_accelerator(precision: str, timeout_s: float = TIMEOUT_S) -> Any | None:
    """Give accelerate's `Accelerator`; None where one process works on the CPU in fp32 or bf16, which needs none.

    Its import takes over a second, which is a fifth of the time in which PPO solves CartPole.

    Args:
        precision: "fp32", "bf16" or "fp16"; "auto" is fp32.
        timeout_s: see `connect`; of no effect where they are connected.

    Raises:
        ProcessLost: when not all come, or when they have parted after an error.
    """
    has_gpu = torch.accelerator.is_available()
    if num_launched() == 1 and not is_connected() and precision != "fp16" and not has_gpu:
        return None
    refuse_parted()
    # cuDNN's attention makes a plan anew for every length of a batch, which takes many times as long as the attention itself.
    torch.backends.cuda.enable_cudnn_sdp(False)
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    # accelerate shares one precision among all accelerators of a process; without this a second run could not choose another.
    AcceleratorState._reset_state()
    threads = torch.get_num_threads()
    # Without `cpu` accelerate overlooks the other processes of a CPU run.
    try:
        accelerator = Accelerator(
            mixed_precision={"auto": "no", "fp32": "no"}.get(precision, precision),
            cpu=not has_gpu,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=timeout_s))],
        )
    except (torch.distributed.DistStoreError, torch.distributed.DistNetworkError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = str(error).splitlines()[0]
        raise ProcessLost(f"expected {num_launched()} processes to meet at {place} within {timeout_s:.0f} s: {reason}") from error
    torch.set_num_threads(threads)  # with several processes accelerate chooses a number of its own
    if is_connected():
        meet(timeout_s)
    return accelerator


def broadcast_weights(policy: nn.Module) -> None:
    """Give every process the weights of the first; nothing to do for a single one."""
    if not is_connected():
        return
    with meeting("for the initial weights"):
        for tensor in [*policy.parameters(), *policy.buffers()]:
            sent = tensor.data.clone()
            torch.distributed.broadcast(sent, src=0)
            tensor.data.copy_(sent)


def mean(x: Tensor) -> Tensor:
    """Average a tensor of floats, of one shape in all, over the processes; every process must call it."""
    return summed(x).div_(num_processes()) if is_connected() else x


def summed(x: Tensor) -> Tensor:
    """Add up a tensor, of one shape in all, over the processes; every process must call it. Alone it is x itself."""
    if not is_connected():
        return x
    parts = x.clone()
    with meeting("in an update of the weights"):
        torch.distributed.all_reduce(parts)
    return parts


def least(number: int, device: torch.device) -> int:
    """Give the smallest number of any process, so that all take as many steps; every process must call it."""
    return min(int(part) for part in gather(torch.tensor([number], device=device), "in an update of the weights"))


def count(mask: Tensor, *, all_true: bool = False, over: AverageOver = "steps") -> Tensor | float:
    """Number of True entries, or of rows that have any, averaged over the processes, so that averaged gradients are those of the whole.

    Args:
        mask: bool, of the whole batch, rows first.
        all_true: whether it is known, in every process, that all entries are.
        over: what a loss is averaged over, see `seqrl.functional.reductions.masked_mean`.
    """
    if all_true and num_processes() == 1:
        return float(max(1, mask.numel() if over == "steps" else mask.shape[0]))
    counted = mean(count_of(mask, over).float())
    return torch.where(counted > 0, counted, 1.0)  # in several processes less than 1 may count on average


def mean_where(x: Tensor, mask: Tensor) -> tuple[Tensor, bool]:
    """Average the entries that count, those of all processes together; every process must call it.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.

    Returns:
        ([] the mean, 0 where nothing counts; whether anything does).
    """
    if num_processes() == 1:
        number = int(mask.sum())
        return (x[mask].mean() if number else x.new_zeros(())), number > 0
    counted = mean(mask.sum().to(x.dtype))
    return mean(masked_sum(x, mask)) / counted.clamp(min=torch.finfo(x.dtype).tiny), bool(counted > 0)


def whiten(x: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Scale the entries that count, those of all processes together, to mean 0 and unit deviation; others become 0.

    Args:
        x: any shape, float.
        mask: same shape, bool, True where it counts.
        epsilon: added to the deviation.
    """
    counted = count(mask)
    centred = x - mean(masked_mean(x, mask, counted))
    deviation = mean(masked_mean(centred.square(), mask, counted)).sqrt()
    return torch.where(mask, centred / (deviation + epsilon), 0.0)


def gather(tensor: Tensor, where: str = "for what the others have observed") -> list[Tensor]:
    """Give every process's tensor, all of one shape, in their order; every process must call it."""
    if not is_connected():
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(num_processes())]
    with meeting(where):
        torch.distributed.all_gather(parts, tensor)
    return parts


def total(numbers: Sequence[float], device: torch.device) -> list[float]:
    """Add up each number, of as many in each process, over all; every process must call it, on the device of its policy."""
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


def from_all(value: Anything) -> list[Anything]:
    """Give the `value` of every process, in their order; every process must call it."""
    if not is_connected():
        return [value]
    box: list[Any] = [None] * num_processes()
    with meeting("for the numbers of all"):
        torch.distributed.all_gather_object(box, value)
    return box


def wait_for_all(where: str = "for all") -> None:
    """Go on when every process has come here; for `where` see `seqrl.meetings.meeting`."""
    if is_connected():
        with meeting(where):
            torch.distributed.barrier()


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
