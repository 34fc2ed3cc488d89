"""Chooses the number of CPU threads by a short measurement, since more are not always faster, and may be far slower."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

# Smaller policies without convolutions are done with an operation before a second thread has woken up.
SMALLEST_MEASURED_POLICY = 100_000
LEAST_GAIN = 1.2
ACTING_ROWS, LEARNING_ROWS, IMAGE_SIZE = 8, 32, 64
MEASURED_S, MIN_REPEATS = 0.05, 2


@dataclass(frozen=True)
class Threads:
    """A number of threads and why it was chosen.

    Attributes:
        number: of threads.
        reason: in plain words.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.number} thread{'s' if self.number > 1 else ''} ({self.reason})"


def choose_threads(policy: nn.Module, asked: int | None = None) -> Threads:
    """Choose and set torch's number of CPU threads.

    A number that was asked for, by the configuration or else by OMP_NUM_THREADS, is taken as it is. Otherwise a batch through the
    policy's largest layers is timed with 1, 2, 4, ... threads up to the number of cores, in well under a second; more threads
    must be a fifth faster than fewer. The mean of the times counts, not the best one: where another program wants the
    cores, threads wait for each other.

    Args:
        policy: whose layers are measured; neither its weights nor any random generator changes.
        asked: `num_threads` of the configuration.
    """
    threads = _choose(policy, asked)
    torch.set_num_threads(threads.number)
    return threads


def _choose(policy: nn.Module, asked: int | None) -> Threads:
    if asked is not None:
        return Threads(asked, "as num_threads says")
    by_environment = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if by_environment.isdigit() and int(by_environment) > 0:
        return Threads(int(by_environment), "as OMP_NUM_THREADS says")
    num_cores = available_cores()
    if num_cores == 1:
        return Threads(1, "there is one core")
    if torch.accelerator.is_available():
        return Threads(num_cores, f"one a core; the policy is on {torch.accelerator.current_accelerator()}")
    load = _load(policy)
    if load is None:
        num_parameters = sum(parameter.numel() for parameter in policy.parameters())
        return Threads(1, f"a policy of {num_parameters:,} parameters has no work for more")
    return fastest(load, num_cores)


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fastest(load: Callable[[], None], num_cores: int) -> Threads:
    """Time a load with 1, 2, 4, ... threads.

    Args:
        load: what is timed; called once before.
        num_cores: most threads.
    """
    before, seconds = torch.get_num_threads(), {}
    best, number = 1, 1
    try:
        while number <= num_cores:
            torch.set_num_threads(number)
            seconds[number] = _mean_seconds(load)
            if seconds[number] * LEAST_GAIN <= seconds[best]:
                best = number
            elif seconds[number] > seconds[best]:
                break
            number *= 2
    finally:
        torch.set_num_threads(before)
    measured = ", ".join(f"{number}: {1000 * value:.2g} ms" for number, value in seconds.items())
    return Threads(best, f"measured on a small batch, {measured}")


def _mean_seconds(load: Callable[[], None]) -> float:
    load()
    times: list[float] = []
    while len(times) < MIN_REPEATS or sum(times) < MEASURED_S:
        start = time.perf_counter()
        load()
        times.append(time.perf_counter() - start)
    return statistics.fmean(times)


def _load(policy: nn.Module) -> Callable[[], None] | None:
    """Give a function that acts once and learns once with the policy's largest layers; None where they are too small."""
    if not any(parameter.numel() for parameter in policy.parameters()):
        return None
    convolutions = [module for module in policy.modules() if isinstance(module, nn.Conv2d)]
    matrices = [parameter for parameter in policy.parameters() if parameter.ndim == 2]
    if not convolutions and sum(parameter.numel() for parameter in policy.parameters()) < SMALLEST_MEASURED_POLICY:
        return None
    parts: list[Callable[[int], torch.Tensor]] = []
    if convolutions:
        largest = max(convolutions, key=lambda layer: layer.weight.numel() // layer.stride[0] ** 2)
        kernel = torch.full_like(largest.weight, 0.01, dtype=torch.float32, requires_grad=True)
        stride, channels = largest.stride, kernel.shape[1] * largest.groups
        size = max(IMAGE_SIZE // 4, kernel.shape[2])
        groups = largest.groups
        parts.append(
            lambda rows: nn.functional.conv2d(torch.full((rows, channels, size, size), 0.5), kernel, stride=stride, groups=groups).sum()
        )
    if matrices:
        shape = max(matrices, key=lambda matrix: matrix.numel()).shape
        matrix = torch.full(shape, 0.01, requires_grad=True)
        parts.append(lambda rows: nn.functional.linear(torch.full((rows, shape[1]), 0.5), matrix).sum())

    def load() -> None:
        with torch.no_grad():
            for part in parts:
                part(ACTING_ROWS)
        torch.stack([part(LEARNING_ROWS) for part in parts]).sum().backward()

    return load
