"""Times the updates of a run with one setting or another, in runs of their own that are thrown away."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from seqrl.protocols import Task, Trainer
from seqrl.run.config import RunConfig

# Updates are timed until they have taken so long together; where one takes longer than the second, a quarter is timed.
TIMED_S, LONG_UPDATE_S = 0.2, 2.0
SMALLEST_SHARE = 1 / 64
# What the first update of a candidate may take longer than the best one's: kernels are compiled in it.
FIRST_UPDATE_S = 1.0

Clock = Callable[[], float]
Start = Callable[[RunConfig], tuple[Task, nn.Module]]


class _TooSlowError(Exception):
    """Ends an update that has taken too long."""


class Bench:
    """Makes updates of a run with one setting or another; all that they change is thrown away.

    Args:
        start: builds task and policy.
        task: of the plain configuration.
        policy: of the plain configuration.
    """

    def __init__(self, start: Start, task: Task, policy: nn.Module) -> None:
        self._start, self._share = start, 1.0
        self._first: tuple[Task, nn.Module] | None = (task, policy)
        self._tasks: dict[str, tuple[Task, nn.Module]] = {}
        self._trainers: dict[str, Trainer] = {}
        self._warm: set[tuple[int, int]] = set()

    @property
    def share_of_update(self) -> str:
        """How much of an update is timed."""
        return "an update" if self._share == 1 else f"1/{round(1 / self._share)} of an update"

    def shorten(self, config: RunConfig) -> None:
        """Time smaller updates from now on where those of a configuration, with all that is done in the first one, take too long."""
        while self._share > SMALLEST_SHARE and self._first_seconds(config, _work_clock(), LONG_UPDATE_S) == math.inf:
            shorter = self._share / 4
            if _shortened(config, shorter) == _shortened(config, self._share):
                return
            self._share, self._tasks, self._trainers, self._warm = shorter, {}, {}, set()

    def seconds(self, config: RunConfig, clock: Clock, known_s: float = math.inf) -> float:
        """Give the median time of an update after a first one; infinity as soon as it is clear that it takes longer.

        Args:
            config: one of the candidates.
            clock: gives seconds.
            known_s: what the candidate is compared with.
        """
        if self._first_seconds(config, clock, 2 * known_s + FIRST_UPDATE_S) == math.inf:
            return math.inf
        times, begin = list[float](), time.perf_counter()
        while sum(times) < TIMED_S and time.perf_counter() - begin < LONG_UPDATE_S:
            times.append(_seconds_of_update(*self._made(config), clock, 1.5 * known_s))
        return statistics.median(times)

    def _first_seconds(self, config: RunConfig, clock: Clock, limit_s: float) -> float:
        """Make the first update of a configuration, in which kernels are compiled and memory is fetched; 0 where it has been made."""
        assert config.num_threads is not None
        torch.set_num_threads(config.num_threads)
        made = self._made(config)
        if (id(made[1]), config.num_threads) in self._warm:
            return 0.0
        seconds = _seconds_of_update(*made, clock, limit_s)
        if seconds < math.inf:
            self._warm.add((id(made[1]), config.num_threads))
        return seconds

    def _made(self, config: RunConfig) -> tuple[Task, Trainer]:
        """Give task and trainer of a configuration, made once."""
        config = _shortened(config, self._share)
        of_task = repr(config.task)
        if of_task not in self._tasks:
            self._tasks[of_task] = self._first if self._first is not None and self._share == 1 else self._start(config)
            self._first = None
        task, policy = self._tasks[of_task]
        of_trainer = f"{of_task} {config.trainer!r}"
        if of_trainer not in self._trainers:
            self._trainers[of_trainer] = config.trainer.build(policy, seed=config.seed, num_updates=config.num_updates)
        return task, self._trainers[of_trainer]


def _work_clock() -> Clock:
    """Count CPU time, which other programs do not change, and a fifth of what is spent waiting."""
    processor, wall = time.process_time(), time.perf_counter()
    return lambda: max(time.process_time() - processor, (time.perf_counter() - wall) / 5)


def _seconds_of_update(task: Task, trainer: Trainer, clock: Clock, limit_s: float) -> float:
    """Time one update, or give infinity where it takes longer than the limit."""
    begin = clock()

    def check(module: nn.Module, inputs: Any) -> None:
        if clock() - begin > limit_s:
            raise _TooSlowError

    # Where a layer begins is the finest place at which any trainer's update can be broken off.
    handle = register_module_forward_pre_hook(check)
    try:
        trainer.update(trainer.collect(task))
    except _TooSlowError:
        return math.inf
    finally:
        handle.remove()
    seconds = clock() - begin
    return seconds if seconds <= limit_s else math.inf


def _shortened(config: RunConfig, share: float) -> RunConfig:
    """Give a run with a share of the work in an update, and that from the first one on, by task's and trainer's own `shortened`.

    Nothing is compiled, which takes longer than it can save here.
    """
    task, trainer = (
        part.shortened(share) if callable(getattr(part, "shortened", None)) else part for part in (config.task, config.trainer)
    )
    if getattr(getattr(trainer, "optimiser", None), "compile", False):
        trainer = dataclasses.replace(trainer, optimiser=dataclasses.replace(trainer.optimiser, compile=False))
    return dataclasses.replace(config, task=task, trainer=trainer)
