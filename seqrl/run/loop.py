"""The training loop: collect, update, log, evaluate, save; plain, resumable and safe to interrupt."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from seqrl.diagnostics import warnings_for
from seqrl.protocols import Task, Trainer
from seqrl.run import checkpoint
from seqrl.run.config import EarlyStop
from seqrl.run.due import Due
from seqrl.run.figures import Gathered
from seqrl.run.interrupt import Interrupt
from seqrl.run.lasting import LastingTroubles
from seqrl.run.log import JsonLines, Log, Writer
from seqrl.run.processes import from_all, from_main, is_main, num_processes, total
from seqrl.run.recurring import Recurring
from seqrl.run.registry import nearest
from seqrl.run.saving import Progress, Saver, keeps_state, restore
from seqrl.run.timing import Stopwatch


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
        progress, num_bytes = restore(resume_from, trainer, task, policy)
        # A resumed run may have been given more patience.
        progress.stopped_early = _out_of_patience(progress, early_stop)
    lines = None
    if run_folder is not None:
        checkpoint.check_writable(run_folder)
    if run_folder is not None and is_main():
        lines = JsonLines(run_folder / "metrics.jsonl", num_bytes)
    log = Log([*([lines] if lines else []), *writers])
    if resume_from is not None and not keeps_state(task):
        log.say(progress.step, f"{type(task).__name__} keeps no state (no `state_dict`), so its data begin anew, other than in a whole run")
    watch(task, early_stop)
    saver = Saver(trainer, task, policy, run_folder, lines, dict(meta or {}), keep_checkpoints)
    lasting = LastingTroubles(steps, getattr(policy, "max_entropy", None), progress.lasting)
    loop = _Loop(trainer, task, policy, run_folder, log, saver, progress, early_stop, Gathered(progress.gathered), lasting)
    due = Due(steps=steps, eval_every=eval_every, save_every=save_every, log_every=log_every)
    try:
        with Interrupt() as interrupt:
            interrupted = _run(loop, due, interrupt)
    finally:
        log.close()
    return RunResult(
        run_folder, progress.step, progress.evaluation, progress.best_value, progress.best_step, progress.stopped_early, interrupted
    )


def watch(task: Task, early_stop: EarlyStop | None) -> None:
    """Ask a task's evaluations for the figure that is watched, where it can be asked."""
    ask = getattr(task, "watch", None)
    if early_stop is not None and callable(ask):
        ask(early_stop.metric)


@dataclass
class _Loop:
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
    # A trouble of nearly every update, of the whole run so far, or of one evaluation.
    in_updates: Recurring = field(default_factory=lambda: Recurring(window=10, least=8))
    in_run: Recurring = field(default_factory=lambda: Recurring(window=1, least=1))
    in_evaluations: Recurring = field(default_factory=lambda: Recurring(window=1, least=1))


def _run(loop: _Loop, due: Due, interrupt: Interrupt) -> bool:
    """Go on until the last step, patience or a signal; say whether it was a signal."""
    progress, watch = loop.progress, Stopwatch(loop.task, loop.progress.elapsed_s, loop.progress.train_s)
    if due.evaluation(progress):
        _evaluate(loop, watch)
    while progress.step < due.steps and not progress.stopped_early:
        stats, asked = _update(loop, watch, interrupt)
        progress.step += 1
        progress.elapsed_s, progress.train_s = watch.elapsed_s, watch.train_s
        loop.gathered.add(stats)
        _warn(loop, loop.in_updates.pick(warnings_for(stats)))
        _warn(loop, loop.in_run.pick(loop.lasting.update(progress.step, stats)))
        if due.logging(progress.step):
            _log_training(loop, watch)
        if not asked and due.evaluation(progress):
            _evaluate(loop, watch)
        if asked or due.saving(progress.step) or progress.stopped_early:
            _save(loop)
        if asked:
            return progress.step < due.steps or due.evaluation(progress)
    if loop.saver.saved_step != progress.step and progress.step == 0:
        _save(loop)
    return False


def _update(loop: _Loop, watch: Stopwatch, interrupt: Interrupt) -> tuple[dict[str, float], bool]:
    """Collect and update once; give the figures, and whether a signal has come to any process."""
    # Collecting does not change weights, so those of the last completed step are still whole.
    with _rescuing(loop, f"while collecting for update {loop.progress.step + 1}"), watch.part("collect"):
        trajectory = loop.trainer.collect(loop.task)
    num_actions = int(trajectory.counted.sum())
    try:
        with watch.part("update"):
            stats = loop.trainer.update(trajectory)
    except Exception as error:
        error.add_note(f"in update {loop.progress.step + 1}; {loop.saver.left()}")
        raise
    num_rows, num_actions, asked = map(int, total([trajectory.batch_size, num_actions, interrupt.asked], trajectory.reward.device))
    watch.count(num_rows, num_actions)
    loop.progress.num_samples += num_rows
    loop.progress.num_actions += num_actions
    return stats, bool(asked)


def _log_training(loop: _Loop, watch: Stopwatch) -> None:
    """Write what happened in the updates since the last line."""
    _pop_figures(loop)
    figures = loop.gathered.pop()
    _write(loop, {**_grouped("train", figures), **_counts(loop, watch), **watch.figures()})
    _warn(loop, loop.in_run.pick(loop.lasting.episodes(figures)))


def _pop_figures(loop: _Loop) -> None:
    """Gather what the task has to tell of its rollouts, such as the returns of the episodes that ended."""
    pop = getattr(loop.task, "pop_figures", None)
    if callable(pop):
        loop.gathered.add_popped(*from_all(pop()))


def _save(loop: _Loop) -> None:
    """Write a checkpoint, with the figures that have no line yet."""
    _pop_figures(loop)
    _keep_figures(loop)
    loop.saver.save(loop.progress)


def _keep_figures(loop: _Loop) -> None:
    loop.progress.gathered, loop.progress.lasting = loop.gathered.state_dict(), loop.lasting.state_dict()


def _evaluate(loop: _Loop, watch: Stopwatch) -> None:
    """Score on dev, keep the best, count how long it has not improved."""
    progress, stop = loop.progress, loop.early_stop
    figures: dict[str, float] = {}
    with _rescuing(loop, f"in the evaluation after update {progress.step}"), watch.part("evaluate"):
        if is_main():
            figures = {name: float(value) for name, value in loop.task.evaluate(loop.policy, split="dev").items()}
        figures = from_main(figures)
    progress.evaluation, progress.evaluated_step = figures, progress.step
    progress.evaluations.append(figures)
    extra = {}
    if stop is not None:
        if stop.metric not in figures:
            known = ", ".join(sorted(figures))
            raise ValueError(f"early_stop.metric: the task evaluates no {stop.metric!r}; {nearest(stop.metric, figures)} It gives {known}")
        value = figures[stop.metric]
        if progress.best_value is None or _better(value, progress.best_value, stop.mode):
            progress.best_value, progress.best_step, progress.num_stale = value, progress.step, 0
        elif progress.step > 0:
            progress.num_stale += 1
        progress.stopped_early = _out_of_patience(progress, stop)
        extra = {f"dev/best_{stop.metric}": progress.best_value}
    _pop_figures(loop)
    _write(loop, {**_grouped("dev", figures), **extra, **_counts(loop, watch), "time/evaluate_s": watch.last_s["evaluate"]})
    find = getattr(loop.task, "warnings_for", None)
    _warn(loop, loop.in_evaluations.pick(find(progress.evaluations) if callable(find) else {}))
    if progress.best_step == progress.step:
        _keep_figures(loop)
        loop.saver.save_best(progress)


@contextmanager
def _rescuing(loop: _Loop, doing: str) -> Iterator[None]:
    """Save after a failure that leaves the weights whole; the error says what was done, and which checkpoint there is."""
    try:
        yield
    except Exception as error:
        if num_processes() == 1:  # others would not take part
            _pop_figures(loop)
        _keep_figures(loop)
        error.add_note(f"{doing}; {loop.saver.rescue(loop.progress)}")
        raise


def _write(loop: _Loop, figures: Mapping[str, float]) -> None:
    with _rescuing(loop, f"while logging after update {loop.progress.step}"):
        loop.log.write(loop.progress.step, figures)


def _warn(loop: _Loop, troubles: Mapping[str, str]) -> None:
    """Say what is likely to be wrong, and keep it in warnings.jsonl."""
    for kind, text in troubles.items():
        loop.log.say(loop.progress.step, text)
        if loop.run_folder is not None and is_main():
            with _rescuing(loop, "while keeping a warning"), (loop.run_folder / "warnings.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": loop.progress.step, "kind": kind, "warning": text}) + "\n")


def _out_of_patience(progress: Progress, stop: EarlyStop | None) -> bool:
    return stop is not None and stop.patience is not None and progress.num_stale >= stop.patience


def _counts(loop: _Loop, watch: Stopwatch) -> dict[str, float]:
    """What a curve can be drawn against besides the updates."""
    return {
        "progress/num_samples": loop.progress.num_samples,
        "progress/num_actions": loop.progress.num_actions,
        **loop.gathered.counts,
        "time/elapsed_s": watch.elapsed_s,
        "time/train_s": watch.train_s,
    }


def _better(value: float, best: float, mode: str) -> bool:
    return not math.isnan(value) and (math.isnan(best) or (value > best if mode == "max" else value < best))


def _grouped(group: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {name if "/" in name else f"{group}/{name}": float(value) for name, value in figures.items()}
