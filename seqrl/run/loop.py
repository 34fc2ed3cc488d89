"""The training loop: collect, update, log, evaluate, save; plain, resumable and safe to interrupt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from seqrl.batch_share import SharedGenerator, share_batches
from seqrl.distributed import from_main, is_main, num_processes, process_index
from seqrl.meetings import told_to_others
from seqrl.protocols import Task, Trainer, ask
from seqrl.requirements import require_weights_of_older_rows
from seqrl.run.config import EarlyStop
from seqrl.run.lock import hold
from seqrl.run.log import JsonLines, Log, Writer
from seqrl.run.progress import Intervals, Progress
from seqrl.run.recorder import Recorder
from seqrl.run.run_folder import check_writable
from seqrl.run.saving import Saver, restore
from seqrl.sharding import shard


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_folder: where its files are; None when nothing was saved.
        step: updates done.
        evaluation: metrics of the last dev evaluation; empty when there was none.
        best_value: best value of the watched metric; None when none was watched.
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
def fit(
    trainer: Trainer,
    task: Task,
    *,
    num_updates: int,
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
        num_updates: updates in all, those before `resume_from` included.
        policy: what is saved and evaluated; the trainer's own when None. Give the bare module when the trainer holds a
            wrapped one.
        run_folder: metrics.jsonl and checkpoints go here; nothing is written when None.
        eval_every: updates between dev evaluations, also done before the first and after the last; 0 for none.
        save_every: updates between checkpoints; 0 for none but that at the end.
        save_minutes: minutes after which one is saved besides; 0 for never. Results are the same to the bit.
        log_every: updates between lines of training stats.
        keep_checkpoints: number of newest checkpoints kept.
        early_stop: dev metric to watch.
        writers: more places for the metrics.
        meta: kept in each checkpoint's meta.json.
        resume_from: checkpoint folder to go on from, exactly.
        split_batches: let several processes divide each batch; task and trainer are seeded alike in all of them.

    Raises:
        ValueError: when the trainer cannot serve the task, the checkpoint does not fit, or the watched metric is not evaluated.
        BlockingIOError: when another program works in the run folder, see `seqrl.run.lock`.
        ProcessLost: when another process of the run has ended or does not come.
    """
    run_folder = None if run_folder is None else Path(run_folder)
    with hold(run_folder):
        policy = trainer.policy if policy is None else policy
        ask(trainer, "check_task", task)
        require_weights_of_older_rows(task, trainer)
        progress, num_bytes, digest = Progress(), 0, None
        if resume_from is not None:
            progress, num_bytes, digest = restore(resume_from, trainer, task, policy, shared=split_batches)
            # A resumed run may have been given more patience.
            progress.stopped_early = progress.is_out_of_patience(early_stop)
        shared = divide_batches(trainer, task) if split_batches else None
        shard(trainer)
        if run_folder is not None:
            check_writable(run_folder)
        lines = JsonLines(run_folder / "metrics.jsonl", num_bytes, digest) if run_folder is not None and is_main() else None
        watch(task, early_stop)
        saver = Saver(trainer, task, policy, run_folder, lines, dict(meta or {}), keep_checkpoints)
        saver.note_present(progress, resume_from)
        intervals = Intervals(
            num_updates=num_updates, eval_every=eval_every, save_every=save_every, save_minutes=save_minutes, log_every=log_every
        )
        log = Log([*([lines] if lines else []), *writers])
        recorder = Recorder(saver, log, progress, intervals, early_stop=early_stop, shared=shared)
        if resume_from is not None:
            recorder.resumed(resume_from, shared=split_batches)
        with recorder.running():
            _loop(trainer, task, recorder, progress, intervals)
            if saver.saved_step != progress.step and progress.step == 0:
                recorder.checkpoint()
        return RunResult(
            run_folder,
            progress.step,
            progress.evaluation,
            progress.best_value,
            progress.best_step,
            progress.stopped_early,
            recorder.interrupted,
        )


def _loop(trainer: Trainer, task: Task, recorder: Recorder, progress: Progress, due: Intervals) -> None:
    """Go on until the last step or patience; the recorder ends it where a signal has come."""
    if due.evaluation(progress):
        recorder.evaluate()
    while progress.step < due.num_updates and not progress.stopped_early:
        with recorder.attempt():
            trajectory = trainer.collect(task)
            recorder.collected(trajectory)
            stats = trainer.update(trajectory)
        recorder.update(stats)
        if due.logging(progress.step):
            recorder.log()
        if due.evaluation(progress):
            recorder.evaluate()
        if due.saving(progress.step) or progress.stopped_early or recorder.late:
            recorder.checkpoint()


def watch(task: Task, early_stop: EarlyStop | None) -> None:
    """Ask a task's evaluations for the metric that is watched, where it can be asked.

    Raises:
        ValueError: when the largest value is to be the best of a metric of which the task says that less is better.
    """
    if early_stop is None:
        return
    if early_stop.mode == "max" and ask(task, "less_is_better", early_stop.metric):
        raise ValueError(
            f"early_stop.mode: less is better for {early_stop.metric}, so its largest value is not the best; set early_stop.mode=min"
        )
    ask(task, "watch", early_stop.metric)


def divide_batches(trainer: Trainer, task: Task) -> SharedGenerator | None:
    """Let all processes work on one batch, see `seqrl.batch_share.share_batches`; None where there is one. Every process must call it."""
    if num_processes() == 1:
        return None
    generator = getattr(getattr(trainer, "optimiser", None), "generator", None)
    state = from_main(None if generator is None else generator.get_state())
    return share_batches(trainer, task, process_index(), num_processes(), state)
