"""The training loop: collect, update, log, evaluate, save; plain, resumable and safe to interrupt."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqrl.distributed import is_main, num_processes, total
from seqrl.failures import ProcessLost
from seqrl.meetings import told_to_others
from seqrl.protocols import Task, Trainer
from seqrl.requirements import require_weights_of_older_rows
from seqrl.run import redistributing
from seqrl.run.config import EarlyStop
from seqrl.run.due import Due
from seqrl.run.figures import Gathered
from seqrl.run.interrupt import GRACE_S, Interrupt
from seqrl.run.lasting import LastingTroubles
from seqrl.run.lock import holding_run_folder
from seqrl.run.log import JsonLines, Log, Writer
from seqrl.run.registry import nearest
from seqrl.run.run_folder import check_writable
from seqrl.run.running import (
    Running,
    broken_off,
    changing_weights,
    counts,
    grouped,
    keep_figures,
    log_training,
    pop_figures,
    refuse_broken_rewards,
    rescue_at_once,
    rescuing,
    save,
    warn,
    warn_of_update,
    write,
)
from seqrl.run.saving import Progress, Saver, keeps_state, restore
from seqrl.run.sharing_out import dev_figures, divide_batches
from seqrl.run.timing import Stopwatch
from seqrl.sharding import shard


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
        interrupted: number of the signal that ended it before its last step, see `seqrl.run.interrupt.exit_code`; 0 for none. A
            checkpoint was saved, from which it goes on exactly; trainer and task are spent.
    """

    run_folder: Path | None
    step: int
    evaluation: dict[str, float]
    best_value: float | None
    best_step: int
    stopped_early: bool
    interrupted: int


@told_to_others
@holding_run_folder
def fit(
    trainer: Trainer,
    task: Task,
    *,
    steps: int,
    policy: nn.Module | None = None,
    run_folder: Path | str | None = None,
    eval_every: int = 0,
    save_every: int = 0,
    save_minutes: float = 10.0,
    log_every: int = 1,
    keep_checkpoints: int = 2,
    early_stop: EarlyStop | None = None,
    writers: Sequence[Writer] = (),
    meta: Mapping[str, Any] | None = None,
    resume_from: Path | None = None,
    split_batches: bool = False,
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
        save_every: updates between checkpoints; 0 for none but that at the end.
        save_minutes: minutes after which one is saved besides; 0 for never. Results are the same to the bit.
        log_every: updates between lines of training figures.
        keep_checkpoints: number of newest checkpoints kept.
        early_stop: dev figure to watch.
        writers: more places for the figures.
        meta: kept in each checkpoint's meta.json.
        resume_from: checkpoint folder to go on from, exactly.
        split_batches: let several processes divide each batch; task and trainer are seeded alike in all of them.

    Raises:
        ValueError: when the trainer cannot serve the task, the checkpoint does not fit, or the watched figure is not evaluated.
        BlockingIOError: when another program works in the run folder, see `seqrl.run.lock`.
        ProcessLost: when another process of the run has ended or does not come.
    """
    run_folder = None if run_folder is None else Path(run_folder)
    policy = trainer.policy if policy is None else policy
    check = getattr(trainer, "check_task", None)
    if callable(check):
        check(task)
    require_weights_of_older_rows(task, trainer)
    progress, num_bytes, digest = Progress(), 0, None
    if resume_from is not None:
        progress, num_bytes, digest = restore(resume_from, trainer, task, policy, shared=split_batches)
        # A resumed run may have been given more patience.
        progress.stopped_early = _out_of_patience(progress, early_stop)
    shared = divide_batches(trainer, task) if split_batches else None
    shard(trainer)
    lines = None
    if run_folder is not None:
        check_writable(run_folder)
    if run_folder is not None and is_main():
        lines = JsonLines(run_folder / "metrics.jsonl", num_bytes, digest)
    log = Log([*([lines] if lines else []), *writers])
    if resume_from is not None and not keeps_state(task):
        log.say(progress.step, f"{type(task).__name__} keeps no state (no `state_dict`), so its data begin anew, other than in a whole run")
    gathered = Gathered(progress.gathered)
    watch(task, early_stop)
    saver = Saver(trainer, task, policy, run_folder, lines, dict(meta or {}), keep_checkpoints)
    saver.note_present(progress, resume_from)
    lasting = LastingTroubles(steps, getattr(policy, "max_entropy", None), progress.lasting)
    interrupt = Interrupt()
    loop = Running(trainer, task, policy, run_folder, log, saver, progress, early_stop, gathered, lasting, interrupt, shared)
    if lines and lines.has_changed:
        warn(
            loop, {"changed_figures": f"Earlier lines of {run_folder}/metrics.jsonl are not as they were written, so a figure may be wrong"}
        )
    if resume_from is not None and not split_batches and (changed := redistributing.describe(resume_from, trainer)):
        redistributing.carry_counts(gathered, task)
        warn(loop, changed)
    due = Due(steps=steps, eval_every=eval_every, save_every=save_every, save_minutes=save_minutes, log_every=log_every)
    try:
        interrupt.last_resort = lambda: rescue_at_once(loop)
        with interrupt, rescuing(loop, "after the last whole update"):
            interrupted = _run(loop, due)
    except ProcessLost as error:
        error.add_note(saver.after_loss())
        raise
    finally:
        log.close()
    return RunResult(
        run_folder, progress.step, progress.evaluation, progress.best_value, progress.best_step, progress.stopped_early, interrupted
    )


def watch(task: Task, early_stop: EarlyStop | None) -> None:
    """Ask a task's evaluations for the figure that is watched, where it can be asked.

    Raises:
        ValueError: when the largest value is to be the best of a figure of which the task says that less is better.
    """
    if early_stop is None:
        return
    ask, less = getattr(task, "watch", None), getattr(task, "less_is_better", None)
    if early_stop.mode == "max" and callable(less) and less(early_stop.metric):
        raise ValueError(
            f"early_stop.mode: less is better for {early_stop.metric}, so its largest value is not the best; set early_stop.mode=min"
        )
    if callable(ask):
        ask(early_stop.metric)


def _run(loop: Running, due: Due) -> int:
    """Go on until the last step, patience or a signal; give the signal's number, 0 when it was none."""
    progress, watch = loop.progress, Stopwatch(loop.task, loop.progress.elapsed_s, loop.progress.train_s)
    if due.evaluation(progress) and not _evaluate(loop, watch):
        return _stop(loop)
    while progress.step < due.steps and not progress.stopped_early:
        if loop.interrupt.asked and num_processes() == 1:  # several ask each other at the end of an update
            return _stop(loop)
        stats = _update(loop, due, watch)
        if stats is None:
            return _stop(loop)
        progress.step += 1
        loop.whole = True
        progress.elapsed_s, progress.train_s = watch.elapsed_s, watch.train_s
        loop.gathered.add(stats)
        if num_processes() == 1:  # so that a copy of the state needs no figures that the task holds
            pop_figures(loop)
        warn_of_update(loop, stats)
        if due.logging(progress.step):
            log_training(loop, watch)
        if loop.stopping and (progress.step < due.steps or due.evaluation(progress)):
            return _stop(loop)
        if due.evaluation(progress) and not _evaluate(loop, watch):
            return _stop(loop)
        if due.saving(progress.step) or progress.stopped_early or loop.late:
            save(loop)
    if loop.saver.saved_step != progress.step and progress.step == 0:
        save(loop)
    return 0


def _stop(loop: Running) -> int:
    """Save, where something was broken off the state before it; give the signal's number."""
    snapshot, loop.snapshot = loop.snapshot, None
    if snapshot is None:
        save(loop)
    else:
        if snapshot.progress is loop.progress:
            keep_figures(loop)
        loop.saver.save(loop.progress, snapshot)
    return loop.interrupt.asked or signal.SIGTERM  # which may have come to another process


def _update(loop: Running, due: Due, watch: Stopwatch) -> dict[str, float] | None:
    """Collect and update once; give the figures, None when a signal broke it off."""
    if loop.saver.is_copy_due(loop.copied):
        keep_figures(loop)
        loop.copied = loop.saver.snapshot_for_update(loop.progress)
    loop.snapshot = loop.copied or loop.saver.snapshot_for_collecting(loop.progress)
    try:
        with loop.interrupt.abandonable(loop.snapshot is not None, grace_s=GRACE_S):
            stats, counts, device = _collect_and_update(loop, watch)
    except BaseException as error:
        if broken_off(loop, error):
            return None
        raise
    loop.snapshot = None
    late = is_main() and loop.run_folder is not None and due.late(loop.saver.unsaved_s)
    num_rows, num_actions, asked, num_late = map(int, total([*counts, loop.interrupt.asked, late], device))
    loop.stopping, loop.late = asked > 0, num_late > 0
    watch.count(num_rows, num_actions)
    loop.progress.num_samples += num_rows
    loop.progress.num_actions += num_actions
    return stats


def _collect_and_update(loop: Running, watch: Stopwatch) -> tuple[dict[str, float], list[int], torch.device]:
    """Give the figures, the numbers of rows and actions, and where they are."""
    with rescuing(loop, f"while collecting for update {loop.progress.step + 1}"), watch.part("collect"):
        trajectory = loop.trainer.collect(loop.task)
        if loop.shared is not None:
            loop.shared.catch_up()
        refuse_broken_rewards(trajectory)
    counts = [trajectory.batch_size, int(trajectory.counted.sum())]
    if loop.snapshot is not None and loop.snapshot.weights is None:
        loop.interrupt.no_way_back()
        loop.snapshot = None
    with changing_weights(loop), watch.part("update"):
        stats = loop.trainer.update(trajectory)
    return stats, counts, trajectory.reward.device


def _evaluate(loop: Running, watch: Stopwatch) -> bool:
    """Score on dev, keep the best, count how long it has not improved; say whether it came to its end."""
    progress, stop = loop.progress, loop.early_stop
    pop_figures(loop)
    keep_figures(loop)
    loop.snapshot = loop.saver.snapshot_for_evaluation(progress)
    with rescuing(loop, f"in the evaluation after update {progress.step}"), watch.part("evaluate"):
        figures = dev_figures(loop)
    if figures is None:
        return False
    loop.snapshot = loop.copied = None
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
    pop_figures(loop)
    write(loop, {**grouped("dev", figures), **extra, **counts(loop, watch), "time/evaluate_s": watch.last_s["evaluate"]})
    find = getattr(loop.task, "warnings_for", None)
    warn(loop, loop.in_evaluations.pick(find(progress.evaluations) if callable(find) else {}))
    if progress.best_step == progress.step:
        keep_figures(loop)
        loop.saver.save_best(progress)
    return True


def _out_of_patience(progress: Progress, stop: EarlyStop | None) -> bool:
    return stop is not None and stop.patience is not None and progress.num_stale >= stop.patience


def _better(value: float, best: float, mode: str) -> bool:
    return not math.isnan(value) and (math.isnan(best) or (value > best if mode == "max" else value < best))
