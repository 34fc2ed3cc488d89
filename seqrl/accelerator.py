"""Devices, processes and precision, which are accelerate's business, where there is any of it."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

# How torchrun and the launchers of MPI tell a process the number of its like.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def num_launched() -> int:
    """Count the processes that were started together, as their launcher says; 1 where there is none."""
    return max(int(os.environ.get(name) or 1) for name in WORLD_SIZES)


def make_accelerator(precision: str) -> Any | None:
    """Give accelerate's `Accelerator`; None where one process works on the CPU in fp32, which needs none.

    Its import takes over a second, which is a fifth of the time in which PPO solves CartPole.

    Args:
        precision: "fp32", "bf16" or "fp16".
    """
    has_gpu = torch.accelerator.is_available()
    connected = torch.distributed.is_available() and torch.distributed.is_initialized()
    if num_launched() == 1 and not connected and precision == "fp32" and not has_gpu:
        return None
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # accelerate shares one precision among all accelerators of a process; without this a second run could not choose another.
    AcceleratorState._reset_state()
    # Without `cpu` accelerate overlooks the other processes of a CPU run.
    return Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision), cpu=not has_gpu)


def broadcast_weights(policy: nn.Module) -> None:
    """Give every process the weights of the first."""
    from accelerate.utils import broadcast

    for tensor in [*policy.parameters(), *policy.buffers()]:
        tensor.data.copy_(broadcast(tensor.data.clone()))


def gather(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Give every process's tensor of one shape, in their order; every process must call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [tensor]
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor)
    return parts
