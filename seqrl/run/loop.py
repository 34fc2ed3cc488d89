"""The training loop: collect, update, log, evaluate, save; plain, resumable and safe to interrupt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from seqrl.protocols import Task, Trainer
from seqrl.run import checkpoint
from seqrl.run.config import EarlyStop
from seqrl.run.interrupt import Interrupt
from seqrl.run.log import JsonLines, Log, Writer
from seqrl.run.seeding import random_state, restore_random_state
from seqrl.run.timing import Stopwatch


@dataclass
class Progress:
    """How far a run is; saved in its checkpoints.

    Attributes:
        step: updates done.
        num_samples: rows collected.
        num_tokens: actions collected that counted, or were imitated.
        elapsed_s: seconds spent in the loop, those of earlier parts of the run included.
        train_s: those of them spent collecting and updating.
        evaluated_step: step of the last evaluation; -1 before the first.
        evaluation: its figures.
        best_value: best value of the watched figure; None before the first evaluation.
        best_step: where it was reached.
        num_stale: evaluations since then.
        stopped_early: whether patience ran out.
    """

    step: int = 0
    num_samples: int = 0
    num_tokens: int = 0
    elapsed_s: float = 0.0
    train_s: float = 0.0
    evaluated_step: int = -1
    evaluation: dict[str, float] = field(default_factory=dict)
    best_value: float | None = None
    best_step: int = -1
    num_stale: int = 0
    stopped_early: bool = False


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_folder: where its files are; None when nothing was saved.
        step: updates done.
        evaluation: figures of the last dev evaluation; empty when there was none.
        best_value: best value of the watched figure; None when none was watched.
        best_step: where it was reached.
        stopped_early: whether patience ran out.
        interrupted: whether a signal ended it before its last step; a checkpoint was saved.
    """

    run_folder: Path | None
    step: int
    evaluation: dict[str, float]
    best_value: float | None
    best_step: int
    stopped_early: bool
    interrupted: bool


def fit(
    trainer: Trainer,
    task: Task,
    *,
    steps: int,
    policy: nn.Module | None = None,
    run_folder: Path | str | None = None,
    eval_every: int = 0,
    save_every: int = 0,
    log_every: int = 1,
    keep_checkpoints: int = 2,
    early_stop: EarlyStop | None = None,
    writers: Sequence[Writer] = (),
    meta: Mapping[str, Any] | None = None,
    resume_from: Path | None = None,
) -> RunResult:
    """Train for a number of updates.

    Args:
        trainer: see `seqrl.protocols.Trainer`.
        task: see `seqrl.protocols.Task`.
        steps: updates in all, those before `resume_from` included.
        policy: what is saved and evaluated; the trainer's own when None. Give the bare module when the trainer holds a
            wrapped one.
        run_folder: metrics.jsonl and checkpoints go here; nothing is written when None.
        eval_every: updates between dev evaluations, also done before the first and after the last; 0 for none.
        save_every: updates between checkpoints; 0 for one at the end.
        log_every: updates between lines of training figures.
        keep_checkpoints: number of newest checkpoints kept.
        early_stop: dev figure to watch.
        writers: more places for the figures.
        meta: kept in each checkpoint's meta.json.
        resume_from: checkpoint folder to go on from, exactly.

    Raises:
        ValueError: when the checkpoint does not fit, or the watched figure is not evaluated.
    """
    run_folder = None if run_folder is None else Path(run_folder)
    policy = trainer.policy if policy is None else policy
    progress, num_bytes = Progress(), 0
    if resume_from is not None:
        progress, num_bytes = _restore(resume_from, trainer, task, policy)
        # A resumed run may have been given more patience.
        progress.stopped_early = _out_of_patience(progress, early_stop)
    lines = None
    if run_folder is not None:
        checkpoint.check_writable(run_folder)
        lines = JsonLines(run_folder / "metrics.jsonl", num_bytes)
    log = Log([*([lines] if lines else []), *writers])
    loop = _Loop(trainer, task, policy, run_folder, log, lines, dict(meta or {}), progress, early_stop, keep_checkpoints)
    due = _Due(steps=steps, eval_every=eval_every, save_every=save_every, log_every=log_every)
    try:
        with Interrupt() as interrupt:
            interrupted = _run(loop, due, interrupt)
    finally:
        log.close()
    return RunResult(
        run_folder, progress.step, progress.evaluation, progress.best_value, progress.best_step, progress.stopped_early, interrupted
    )


@dataclass
class _Loop:
    """What one call of `fit` works with."""

    trainer: Trainer
    task: Task
    policy: nn.Module
    run_folder: Path | None
    log: Log
    lines: JsonLines | None
    meta: dict[str, Any]
    progress: Progress
    early_stop: EarlyStop | None
    keep_checkpoints: int
    saved_step: int = -1


@dataclass(frozen=True)
class _Due:
    """Says what happens after how many updates."""

    steps: int
    eval_every: int
    save_every: int
    log_every: int

    def _every(self, step: int, period: int) -> bool:
        return period > 0 and (step % period == 0 or step == self.steps)

    def evaluation(self, progress: Progress) -> bool:
        return progress.evaluated_step != progress.step and self._every(progress.step, self.eval_every)

    def saving(self, step: int) -> bool:
        return step == self.steps or (step > 0 and self._every(step, self.save_every))

    def logging(self, step: int) -> bool:
        return self._every(step, self.log_every)


def _run(loop: _Loop, due: _Due, interrupt: Interrupt) -> bool:
    """Go on until the last step, patience or a signal; say whether it was a signal."""
    progress, watch = loop.progress, Stopwatch(loop.task, loop.progress.elapsed_s, loop.progress.train_s)
    if due.evaluation(progress):
        _evaluate(loop, watch)
    while progress.step < due.steps and not progress.stopped_early:
        stats = _update(loop, watch)
        progress.step += 1
        progress.elapsed_s, progress.train_s = watch.elapsed_s, watch.train_s
        if due.logging(progress.step):
            loop.log.write(progress.step, {**_grouped("train", stats), **_counts(loop, watch), **watch.figures()})
        if not interrupt.asked and due.evaluation(progress):
            _evaluate(loop, watch)
        if interrupt.asked or due.saving(progress.step) or progress.stopped_early:
            _save(loop)
        if interrupt.asked:
            return progress.step < due.steps or due.evaluation(progress)
    if loop.saved_step != progress.step and progress.step == 0:
        _save(loop)
    return False


def _update(loop: _Loop, watch: Stopwatch) -> dict[str, float]:
    """Collect and update once; an error says at which step, and which checkpoint is left."""
    try:
        with watch.part("collect"):
            trajectory = loop.trainer.collect(loop.task)
    except Exception as error:
        # Collecting does not change weights, so those of the last completed step are still whole.
        error.add_note(f"while collecting for update {loop.progress.step + 1}; {_rescue(loop)}")
        raise
    counted = trajectory.mask if trajectory.imitate is None else trajectory.mask | trajectory.imitate
    num_tokens = int(counted.sum())
    try:
        with watch.part("update"):
            stats = loop.trainer.update(trajectory)
    except Exception as error:
        error.add_note(f"in update {loop.progress.step + 1}; {_left(loop)}")
        raise
    watch.count(trajectory.batch_size, num_tokens)
    loop.progress.num_samples += trajectory.batch_size
    loop.progress.num_tokens += num_tokens
    return stats


def _evaluate(loop: _Loop, watch: Stopwatch) -> None:
    """Score on dev, keep the best, count how long it has not improved."""
    progress, stop = loop.progress, loop.early_stop
    with watch.part("evaluate"):
        figures = {name: float(value) for name, value in loop.task.evaluate(loop.policy, split="dev").items()}
    progress.evaluation, progress.evaluated_step = figures, progress.step
    extra = {}
    if stop is not None:
        if stop.metric not in figures:
            raise ValueError(f"early_stop.metric: the task evaluates no {stop.metric!r}; it gives {', '.join(sorted(figures))}")
        value = figures[stop.metric]
        if progress.best_value is None or _better(value, progress.best_value, stop.mode):
            progress.best_value, progress.best_step, progress.num_stale = value, progress.step, 0
        elif progress.step > 0:
            progress.num_stale += 1
        progress.stopped_early = _out_of_patience(progress, stop)
        extra = {f"dev/best_{stop.metric}": progress.best_value}
    loop.log.write(
        progress.step, {**_grouped("dev", figures), **extra, **_counts(loop, watch), "time/evaluate_s": watch.last_s["evaluate"]}
    )
    if progress.best_step == progress.step and loop.run_folder is not None:
        _write_checkpoint(loop, checkpoint.best_folder(loop.run_folder))


def _out_of_patience(progress: Progress, stop: EarlyStop | None) -> bool:
    return stop is not None and stop.patience is not None and progress.num_stale >= stop.patience


def _counts(loop: _Loop, watch: Stopwatch) -> dict[str, float]:
    """What a curve can be drawn against besides the updates."""
    return {
        "progress/num_samples": loop.progress.num_samples,
        "progress/num_tokens": loop.progress.num_tokens,
        "time/elapsed_s": watch.elapsed_s,
        "time/train_s": watch.train_s,
    }


def _better(value: float, best: float, mode: str) -> bool:
    return not math.isnan(value) and (math.isnan(best) or (value > best if mode == "max" else value < best))


def _save(loop: _Loop) -> None:
    if loop.run_folder is None:
        return
    _write_checkpoint(loop, checkpoint.step_folder(loop.run_folder, loop.progress.step))
    loop.saved_step = loop.progress.step
    checkpoint.prune(loop.run_folder, loop.keep_checkpoints)


def _write_checkpoint(loop: _Loop, folder: Path) -> None:
    progress = loop.progress
    state = {
        "trainer": loop.trainer.state_dict(),
        "task": loop.task.state_dict(),
        "random": random_state(),
        "progress": asdict(progress),
        "metrics_num_bytes": loop.lines.num_bytes() if loop.lines else 0,
    }
    meta = {**loop.meta, "step": progress.step, "evaluation": progress.evaluation if progress.evaluated_step == progress.step else {}}
    checkpoint.save(folder, loop.policy, state, meta)


def _restore(folder: Path, trainer: Trainer, task: Task, policy: nn.Module) -> tuple[Progress, int]:
    checkpoint.load_weights(folder, policy)
    state = checkpoint.load_state(folder)
    trainer.load_state_dict(state["trainer"])
    task.load_state_dict(state["task"])
    restore_random_state(state["random"])
    return Progress(**state["progress"]), int(state["metrics_num_bytes"])


def _rescue(loop: _Loop) -> str:
    """Save the last completed step after a failure, where that is possible."""
    if loop.run_folder is None or loop.saved_step == loop.progress.step or loop.progress.step == 0:
        return _left(loop)
    try:
        _save(loop)
    except (OSError, RuntimeError, ValueError) as error:
        return f"{_left(loop)} (saving another failed: {error})"
    return _left(loop)


def _left(loop: _Loop) -> str:
    folders = checkpoint.step_folders(loop.run_folder) if loop.run_folder is not None else []
    return f"the last checkpoint is {folders[-1]}" if folders else "no checkpoint had been saved yet"


def _grouped(group: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {name if "/" in name else f"{group}/{name}": float(value) for name, value in figures.items()}
