"""What one call of `fit` works with, and what it writes: lines, warnings, checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from seqrl.batch_share import SharedGenerator
from seqrl.diagnostics import AT_ONCE, warnings_for
from seqrl.distributed import from_all, is_main, num_processes
from seqrl.failures import NoStepTaken
from seqrl.protocols import Task, Trainer
from seqrl.run import checkpoint
from seqrl.run.config import EarlyStop
from seqrl.run.figures import Gathered
from seqrl.run.interrupt import Interrupt, Interrupted, resume_command
from seqrl.run.lasting import LastingTroubles
from seqrl.run.log import Log, RunFolderGone
from seqrl.run.memory import explained
from seqrl.run.recurring import Recurring
from seqrl.run.saving import Progress, Saver, Snapshot
from seqrl.run.timing import Stopwatch
from seqrl.trajectory import Trajectory


@dataclass
class Running:
    """What one call of `fit` works with."""

    trainer: Trainer
    task: Task
    policy: nn.Module
    run_folder: Path | None
    log: Log
    saver: Saver
    progress: Progress
    early_stop: EarlyStop | None
    gathered: Gathered
    lasting: LastingTroubles
    interrupt: Interrupt
    # What several processes draw from that divide each batch.
    shared: SharedGenerator | None = None
    # The newest copy of the state before an update; and what a signal goes back to, while something can be broken off.
    copied: Snapshot | None = None
    snapshot: Snapshot | None = None
    # Whether the processes have agreed to stop, and to save after this update.
    stopping: bool = False
    late: bool = False
    # Whether the weights are those of the last whole update; and whether they were saved after a failure.
    whole: bool = True
    rescued: bool = False
    # A trouble of a single update, of nearly every update, of the whole run so far, or of one evaluation.
    at_once: Recurring = field(default_factory=lambda: Recurring(window=1, least=1))
    in_updates: Recurring = field(default_factory=lambda: Recurring(window=10, least=8))
    in_run: Recurring = field(default_factory=lambda: Recurring(window=1, least=1))
    in_evaluations: Recurring = field(default_factory=lambda: Recurring(window=1, least=1))

    def __post_init__(self) -> None:
        self._tensors = [*self.policy.parameters(), *self.policy.buffers()]

    def versions(self) -> int:
        """Give a number that is another one when a weight has changed."""
        return sum(tensor._version for tensor in self._tensors)


def broken_off(running: Running, error: BaseException) -> bool:
    """Say whether a signal ended what was done, and not a fault; what failed after a signal may have failed because of it."""
    return running.snapshot is not None and bool(running.interrupt.asked) and isinstance(error, Interrupted | Exception)


def log_training(running: Running, watch: Stopwatch) -> None:
    """Write what happened in the updates since the last line."""
    pop_figures(running)
    figures = running.gathered.pop()
    write(running, {**grouped("train", figures), **counts(running, watch), **watch.figures()})
    warn(running, running.in_run.pick(running.lasting.episodes(figures)))


def pop_figures(running: Running) -> None:
    """Gather what the task has to tell of its rollouts, such as the returns of the episodes that ended."""
    pop = getattr(running.task, "pop_figures", None)
    if callable(pop):
        running.gathered.add_popped(*from_all(pop()))


def save(running: Running) -> None:
    """Write a checkpoint, with the figures that have no line yet."""
    pop_figures(running)
    keep_figures(running)
    running.saver.save(running.progress)
    running.copied = None


def keep_figures(running: Running) -> None:
    """Put what was gathered where checkpoints and snapshots find it."""
    running.progress.gathered, running.progress.lasting = running.gathered.state_dict(), running.lasting.state_dict()


@contextmanager
def rescuing(running: Running, doing: str) -> Iterator[None]:
    """Save after whatever ends a run, `KeyboardInterrupt` included; the error says what was done, and which checkpoint there is."""
    try:
        yield
    except BaseException as error:
        known = explained(error, doing, running.trainer, running.task)
        rescue(running, known, doing)
        if known is not error:
            raise known from error
        raise


@contextmanager
def changing_weights(running: Running) -> Iterator[None]:
    """Do what changes the weights; after a failure that left them half changed, only a copy can be saved."""
    before = running.versions()
    running.whole = False
    try:
        yield
    except BaseException as error:
        running.whole = running.versions() == before
        doing = f"in update {running.progress.step + 1}"
        known = explained(error, doing, running.trainer, running.task)
        rescue(running, known, doing)
        if known is not error:
            raise known from error
        raise


def rescue(running: Running, error: BaseException, doing: str) -> None:
    """Save the newest state that is whole, unless a signal broke off what was done, or that was done for the same error before.

    A copy of this very step goes before the present state, in which more than the weights may have changed.

    Args:
        running: what is saved.
        error: gets a note.
        doing: stands in the note.
    """
    if running.rescued or broken_off(running, error) or isinstance(error, RunFolderGone):
        return
    running.rescued = True
    step, copied = running.progress.step, running.copied
    exact = [each for each in (running.snapshot, copied) if each is not None and each.progress.step == step]
    states: list[Snapshot | None] = [each for each in exact[:1] if running.whole or each.weights is not None]
    if running.whole:
        # What is told of an update that is done again would be told twice.
        _keep_what_is_told(running, with_task=not states)
        states.append(None)
    if copied is not None and copied.progress.step != step:
        states.append(copied)
    left = running.saver.rescue(running.progress, states, together=isinstance(error, NoStepTaken))
    error.add_note(f"{doing}; {left}")
    command = running.interrupt.command
    if command is not None and running.run_folder is not None and checkpoint.step_folders(running.run_folder):
        command.hint = f"{left}; `{resume_command(running.run_folder)}` goes on"


def refuse_broken_rewards(trajectory: Trajectory) -> None:
    """Refuse a rollout with a reward that is not finite, before it gets into a moving average or a replay.

    Raises:
        ValueError: naming the first row and step with one.
    """
    reward = trajectory.reward
    if math.isfinite(float(reward.sum())):
        return
    broken = (~reward.isfinite()).nonzero()
    if len(broken):  # a sum of large numbers may overflow by itself
        row, step = broken[0].tolist()
        raise ValueError(
            f"the reward of row {row} at step {step} is {float(reward[row, step])}; expected a finite number, at most "
            f"{torch.finfo(reward.dtype).max:.2g}. Mend the task's reward, or scale it down"
        )


def rescue_at_once(running: Running) -> None:
    """Save what a first signal would have gone back to, before a second one ends the process."""
    snapshot, running.snapshot = running.snapshot, None
    if snapshot is not None and not running.rescued:
        running.rescued = True
        if snapshot.progress is running.progress:
            keep_figures(running)
        running.saver.rescue(running.progress, [snapshot])


def _keep_what_is_told(running: Running, *, with_task: bool) -> None:
    """Put figures where a checkpoint finds them; those of the task, which may be what failed, where it is asked and can tell them."""
    if with_task and num_processes() == 1:  # others would not take part
        with suppress(Exception):  # the error that is on its way matters more
            pop_figures(running)
    keep_figures(running)


def write(running: Running, figures: Mapping[str, float]) -> None:
    """Write a line of the log."""
    with rescuing(running, f"while logging after update {running.progress.step}"):
        running.log.write(running.progress.step, figures)


def warn(running: Running, troubles: Mapping[str, str]) -> None:
    """Say what is likely to be wrong, and keep it in warnings.jsonl."""
    for kind, text in troubles.items():
        running.log.say(running.progress.step, text)
        if running.run_folder is not None and is_main():
            with rescuing(running, "while keeping a warning"), (running.run_folder / "warnings.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": running.progress.step, "kind": kind, "warning": text}) + "\n")


def warn_of_update(running: Running, stats: Mapping[str, float]) -> None:
    """Say what the figures of an update tell, by themselves and after those of the updates before."""
    troubles = warnings_for(stats)
    warn(running, running.at_once.pick({kind: troubles.pop(kind) for kind in AT_ONCE if kind in troubles}))
    warn(running, running.in_updates.pick(troubles))
    warn(running, running.in_run.pick(running.lasting.update(running.progress.step, stats)))


def counts(running: Running, watch: Stopwatch) -> dict[str, float]:
    """What a curve can be drawn against besides the updates."""
    return {
        "progress/num_samples": running.progress.num_samples,
        "progress/num_actions": running.progress.num_actions,
        **running.gathered.counts,
        "time/elapsed_s": watch.elapsed_s,
        "time/train_s": watch.train_s,
    }


def grouped(group: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Put a group before the names that have none."""
    return {name if "/" in name else f"{group}/{name}": float(value) for name, value in figures.items()}
