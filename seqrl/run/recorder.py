"""What is kept of a run while it trains: metrics, warnings, checkpoints, and a state to go back to after a signal or a failure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from seqrl.batch_share import SharedGenerator
from seqrl.distributed import from_all, is_main, num_processes, total
from seqrl.failures import ProcessLost
from seqrl.run import elastic
from seqrl.run.config import EarlyStop
from seqrl.run.evaluation import dev_metrics
from seqrl.run.intervals import Intervals
from seqrl.run.log import Log
from seqrl.run.metric_accumulator import MetricAccumulator
from seqrl.run.progress import Progress
from seqrl.run.run_warnings import RunWarnings
from seqrl.run.saving import Saver, keeps_state
from seqrl.run.timing import Stopwatch
from seqrl.run.way_back import WayBack
from seqrl.trajectory import Trajectory

BETWEEN, COLLECTING, UPDATING, UPDATED = "between updates", "while collecting", "while updating", "after an update"
ORDER = "the order is: with attempt() {collect, collected(trajectory), update}, then update(stats), then log(), evaluate(), checkpoint()"


class Stopped(Exception):
    """A signal has come, and the run is where it can be saved."""


class Recorder:
    """Records one run, and leaves it whole however it ends.

    All of it happens inside of `running`. An update is made inside of `attempt`, with `collected` between collecting and updating, and
    told by `update`; `log`, `evaluate` and `checkpoint` stand between two updates. Any other order is refused.

    Args:
        saver: writes the checkpoints; it knows trainer, task, policy and folder.
        log: where metrics go.
        progress: how far the run is.
        intervals: how far it goes, and how long a checkpoint may be due.
        early_stop: dev metric to watch.
        shared: what several processes draw from that divide each batch.

    Attributes:
        late: whether the processes have agreed that the last checkpoint is too old.
        interrupted: number of the signal that ended the run before its last step; 0 for none.
    """

    def __init__(
        self,
        saver: Saver,
        log: Log,
        progress: Progress,
        intervals: Intervals,
        *,
        early_stop: EarlyStop | None = None,
        shared: SharedGenerator | None = None,
    ) -> None:
        self.late, self.interrupted = False, 0
        self._trainer, self._task, self._policy, self._run_folder = saver.trainer, saver.task, saver.policy, saver.run_folder
        self._saver, self._log, self._progress, self._intervals = saver, log, progress, intervals
        self._early_stop, self._shared = early_stop, shared
        self._accumulator = MetricAccumulator(progress.gathered)
        self._warnings = RunWarnings(intervals.num_updates, getattr(self._policy, "max_entropy", None), progress.lasting)
        self._watch = Stopwatch(self._task, progress.elapsed_s, progress.train_s)
        self._way_back = WayBack(saver, progress, self._keep)
        self._phase, self._phase_start_s = BETWEEN, 0.0
        self._counts, self._device = [0, 0], torch.device("cpu")
        self._stopping = False  # whether the processes have agreed to

    def resumed(self, folder: Path, *, shared: bool) -> None:
        """Say what is not as it was when the checkpoint was written from which a run goes on.

        Args:
            folder: of the checkpoint.
            shared: whether the processes divide each batch, so that their number changes nothing.
        """
        if not keeps_state(self._task):
            name = type(self._task).__name__
            text = f"{name} keeps no state (no `state_dict`), so its data begin anew, other than in a whole run"
            self._log.say(self._progress.step, text)
        if self._saver.lines and self._saver.lines.has_changed:
            file = f"{self._run_folder}/metrics.jsonl"
            self._warn({"changed_metrics": f"Earlier lines of {file} are not as they were written, so a metric may be wrong"})
        if not shared and (changed := elastic.describe(folder, self._trainer)):
            elastic.carry_counts(self._accumulator, self._task)
            self._warn(changed)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take the signals over; at the end the newest whole state is saved, whatever ended the run, and the log is closed.

        Raises:
            ProcessLost: with a note that says how to go on.
        """
        try:
            with self._way_back.interrupt, self._way_back.rescuing("after the last whole update"):
                try:
                    yield
                except Stopped:
                    self.interrupted = self._way_back.stop()
        except ProcessLost as error:
            error.add_note(self._saver.after_loss())
            raise
        finally:
            self._log.close()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Surround one update; a signal that comes too early for its end, or a failure, goes back to the state before it.

        Raises:
            Stopped: when a signal has come.
        """
        self._go_on(BETWEEN, COLLECTING)
        if self._stopping or (self._way_back.interrupt.asked and num_processes() == 1):  # several ask each other at an update's end
            raise Stopped
        try:
            with self._way_back.before_update():
                self._phase_start_s = time.perf_counter()
                yield
                self._go_on(UPDATING, UPDATED)
        except BaseException as error:
            if self._way_back.broke_off(error):
                raise Stopped from error
            number = self._progress.step + 1
            self._way_back.fail(error, f"in update {number}" if self._phase == UPDATING else f"while collecting for update {number}")
        self._way_back.forget()

    def collected(self, trajectory: Trajectory) -> None:
        """Note what was collected; from here on the weights change.

        Raises:
            ValueError: when a reward is not finite.
        """
        self._go_on(COLLECTING, COLLECTING)
        if self._shared is not None:
            self._shared.catch_up()
        refuse_broken_rewards(trajectory)
        self._time_part("collect")
        self._counts, self._device = [trajectory.batch_size, int(trajectory.counted.sum())], trajectory.reward.device
        self._way_back.before_weights_change()
        self._go_on(COLLECTING, UPDATING)
        self._phase_start_s = time.perf_counter()

    def update(self, stats: Mapping[str, float]) -> None:
        """Take the stats of the update that `attempt` surrounded; every process must call it."""
        self._go_on(UPDATED, BETWEEN)
        self._time_part("update")
        progress, watch = self._progress, self._watch
        late = is_main() and self._run_folder is not None and self._intervals.late(self._saver.unsaved_s)
        num_rows, num_actions, asked, num_late = map(int, total([*self._counts, self._way_back.interrupt.asked, late], self._device))
        self._stopping, self.late = asked > 0, num_late > 0
        watch.count(num_rows, num_actions)
        progress.num_samples += num_rows
        progress.num_actions += num_actions
        progress.step += 1
        self._way_back.after_update()
        progress.elapsed_s, progress.train_s = watch.elapsed_s, watch.train_s
        self._accumulator.add(stats)
        if num_processes() == 1:  # so that a copy of the state needs no stats that the task holds
            self._pop_task_stats()
        self._warn(self._warnings.of_update(progress.step, stats))

    def log(self) -> None:
        """Write what happened in the updates since the last line."""
        self._go_on(BETWEEN, BETWEEN)
        self._pop_task_stats()
        stats = self._accumulator.pop()
        self._write({**grouped("train", stats), **self._what_curves_need(), **self._watch.metrics()})
        self._warn(self._warnings.of_line(stats))

    def evaluate(self) -> None:
        """Score on dev, keep the best, count how long it has not improved; every process must call it.

        Raises:
            Stopped: when a signal has come.
            ValueError: when the watched metric is not evaluated.
        """
        self._go_on(BETWEEN, BETWEEN)
        if self._stopping:
            raise Stopped
        progress = self._progress
        way_back = self._way_back
        way_back.before_evaluation()
        with way_back.rescuing(f"in the evaluation after update {progress.step}"), self._watch.part("evaluate"):
            metrics = dev_metrics(self._trainer, self._task, self._policy, way_back.unless_broken_off, lambda: way_back.interrupt.asked)
        if metrics is None:
            raise Stopped
        way_back.forget(copies=True)
        best = progress.take_evaluation(metrics, self._early_stop)
        self._pop_task_stats()
        self._write({**grouped("dev", metrics), **best, **self._what_curves_need(), "time/evaluate_s": self._watch.last_s["evaluate"]})
        self._warn(self._warnings.of_evaluations(self._task, progress.evaluations))
        if progress.best_step == progress.step:
            self._keep()
            self._saver.save_best(progress)

    def checkpoint(self) -> None:
        """Write a checkpoint, with the metrics that have no line yet; every process must call it.

        Raises:
            Stopped: when a signal has come, and there is more to do.
        """
        self._go_on(BETWEEN, BETWEEN)
        if self._stopping and self._progress.step < self._intervals.num_updates:
            raise Stopped
        self._way_back.save()

    def _go_on(self, expected: str, phase: str) -> None:
        """Go from one phase to the next.

        Raises:
            RuntimeError: when the run is in another one; nothing more is saved, since nobody knows what its state is.
        """
        if self._phase != expected:
            self._way_back.refuse(f"the recorder was called {self._phase}, expected {expected}; {ORDER}")
        self._phase = phase

    def _time_part(self, name: str) -> None:
        self._watch.add(name, time.perf_counter() - self._phase_start_s)

    def _pop_task_stats(self) -> None:
        """Gather what the task has to tell of its rollouts, such as the returns of the episodes that ended."""
        pop = getattr(self._task, "pop_metrics", None)
        if callable(pop):
            self._accumulator.add_popped(*from_all(pop()))

    def _keep(self, with_task: bool = False) -> None:
        """Put what was gathered where checkpoints and copies find it; see `seqrl.run.way_back.WayBack`."""
        if with_task:
            self._pop_task_stats()
        self._progress.gathered, self._progress.lasting = self._accumulator.state_dict(), self._warnings.state_dict()

    def _write(self, metrics: Mapping[str, float]) -> None:
        with self._way_back.rescuing(f"while logging after update {self._progress.step}"):
            self._log.write(self._progress.step, metrics)

    def _warn(self, troubles: Mapping[str, str]) -> None:
        """Say what is likely to be wrong, and keep it in warnings.jsonl."""
        step = self._progress.step
        for kind, text in troubles.items():
            self._log.say(step, text)
            if self._run_folder is not None and is_main():
                with (
                    self._way_back.rescuing("while keeping a warning"),
                    (self._run_folder / "warnings.jsonl").open("a", encoding="utf-8") as file,
                ):
                    file.write(json.dumps({"step": step, "kind": kind, "warning": text}) + "\n")

    def _what_curves_need(self) -> dict[str, float]:
        """Give what a curve can be drawn against besides the updates."""
        return {
            "progress/num_samples": self._progress.num_samples,
            "progress/num_actions": self._progress.num_actions,
            **self._accumulator.counts,
            "time/elapsed_s": self._watch.elapsed_s,
            "time/train_s": self._watch.train_s,
        }


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


def grouped(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Put a group before the names that have none."""
    return {name if "/" in name else f"{group}/{name}": float(value) for name, value in metrics.items()}
