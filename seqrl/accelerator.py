"""Devices, processes and precision, which are accelerate's business, where there is any of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from seqrl.failures import TIMEOUT_S, ProcessLost
from seqrl.meetings import current, meet, meeting, refuse_parted

# How torchrun and the launchers of MPI tell a process the number of its like.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
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


def is_connected() -> bool:
    """Say whether the processes can exchange tensors."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and not _ALONE.get()


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
    """Give every process the weights of the first."""
    from accelerate.utils import broadcast

    with meeting("for the first weights"):
        for tensor in [*policy.parameters(), *policy.buffers()]:
            tensor.data.copy_(broadcast(tensor.data.clone()))


def mean_over_processes(accelerator: Any, x: torch.Tensor) -> torch.Tensor:
    """Average a tensor over the processes; every process must call it.

    Args:
        accelerator: of `make_accelerator`.
        x: float, of one shape in all processes.
    """
    with meeting("in an update of the weights"):
        averaged: torch.Tensor = accelerator.reduce(x, reduction="mean")
    return averaged


def least(number: int, device: torch.device) -> int:
    """Give the smallest number of any process; every process must call it."""
    if not is_connected():
        return number
    return min(int(part) for part in gather(torch.tensor([number], device=device), "in an update of the weights"))


def gather(tensor: torch.Tensor, where: str = "for what the others have observed") -> list[torch.Tensor]:
    """Give every process's tensor of one shape, in their order; every process must call it.

    Args:
        tensor: of this process.
        where: see `seqrl.meetings.meeting`.
    """
    if not is_connected():
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    with meeting(where):
        torch.distributed.all_gather(parts, tensor)
    return parts
