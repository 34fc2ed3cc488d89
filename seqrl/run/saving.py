"""What of a run goes into its checkpoints, and how it comes back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from seqrl.distributed import is_main, num_processes, process_index, wait_for_all, wait_for_main
from seqrl.protocols import Task, Trainer
from seqrl.run import checkpoint, elastic
from seqrl.run.interrupt import resume_command
from seqrl.run.log import JsonLines
from seqrl.run.progress import Progress
from seqrl.run.renames import PROGRESS
from seqrl.run.seeding import random_state, restore_random_state
from seqrl.sharding import written_out
from seqrl.weight_average import average_of, averaged_weights

# Copies of the state cost at most this share of the time, and at most this much memory.
LARGEST_SHARE, LARGEST_COPY_BYTES = 0.02, 2**28
# What takes no longer is done before each update of a policy whose weights are too large to be copied.
CHEAP_COPY_S = 0.01


@dataclass(frozen=True)
class Snapshot:
    """What a run goes back to when a signal breaks off what it does.

    Attributes:
        progress: how far it was.
        state: as in a checkpoint; what is missing has not changed since.
        weights: of the policy; None where they do not change as long as the snapshot is of use.
        generators: of the trainer, with their states, where nothing else of its state has changed.
        buffers: of the policy by name, where nothing else of its weights has changed: what it counts of what a rollout saw.
    """

    progress: Progress
    state: dict[str, Any]
    weights: dict[str, Any] | None
    generators: Sequence[tuple[torch.Generator, Tensor]] = ()
    buffers: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Saver:
    """Writes the checkpoints of a run; nothing where it has no folder.

    Under several processes all call it: the main one writes, the others hand it their generators and data positions.

    Args:
        trainer: its state is saved.
        task: its state is saved.
        policy: its weights are saved.
        run_folder: where the checkpoints go; None for nowhere.
        lines: the metrics written so far, whose length a checkpoint notes.
        meta: kept in each checkpoint's meta.json.
        keep_checkpoints: number of newest checkpoints kept.
    """

    trainer: Trainer
    task: Task
    policy: nn.Module
    run_folder: Path | None
    lines: JsonLines | None
    meta: Mapping[str, Any]
    keep_checkpoints: int
    saved_step: int = -1
    _saved_at: float = field(default_factory=lambda: time.monotonic())
    _copy_again_at: float = -math.inf
    _light_copy_again_at: float = -math.inf

    def snapshot_for_evaluation(self, progress: Progress) -> Snapshot:
        """Copy what an evaluation may change: the task and the global generators."""
        return Snapshot(deepcopy(progress), self._copied_state(progress), None)

    def is_copy_due(self, before: Snapshot | None) -> bool:
        """Say whether `snapshot_for_update` is worth its time: an earlier copy still serves when another one would cost too much."""
        if self.run_folder is None or num_processes() > 1:  # nowhere to save, or others would not take part
            return False
        return time.perf_counter() >= self._copy_again_at or (before is None and self._copy_again_at < math.inf)

    def snapshot_for_update(self, progress: Progress) -> Snapshot | None:
        """Copy all that collecting and updating change; None when that is too large."""
        start = time.perf_counter()
        weights, trainer = self.policy.state_dict(), self.trainer.state_dict()
        if num_bytes([weights, trainer]) > LARGEST_COPY_BYTES:
            self._copy_again_at = math.inf
            return None
        snapshot = Snapshot(deepcopy(progress), self._copied_state(progress) | {"trainer": _copied(trainer)}, _copied(weights))
        end = time.perf_counter()
        self._copy_again_at = end + (end - start) / LARGEST_SHARE
        return snapshot

    def snapshot_for_collecting(self, progress: Progress) -> Snapshot | None:
        """Copy what changes while rows are collected: the task, generators and what is counted of what is seen, and no weights.

        None where other processes would not take part in saving, or where this would cost too much.
        """
        start = time.perf_counter()
        if num_processes() > 1 or start < self._light_copy_again_at:
            return None
        if self.run_folder is None:
            return Snapshot(progress, {}, None)
        task = _copied(self.task.state_dict()) if keeps_state(self.task) else None
        held = (*vars(self.trainer).values(), getattr(getattr(self.trainer, "optimiser", None), "generator", None))
        generators = [(each, each.get_state()) for each in held if isinstance(each, torch.Generator)]
        buffers = _copied(dict(self.policy.named_buffers())) if hasattr(self.policy, "observe") else {}
        end = time.perf_counter()
        self._light_copy_again_at = end + (end - start) / LARGEST_SHARE if end - start > CHEAP_COPY_S else -math.inf
        return Snapshot(progress, {"task": task, "random": random_state()}, None, generators, buffers)

    def save(self, progress: Progress, snapshot: Snapshot | None = None) -> None:
        """Write the checkpoint of the present step, or go back to a snapshot and write that, and delete the oldest."""
        if snapshot is not None:
            vars(progress).update(vars(snapshot.progress))
            if snapshot.weights is not None:
                self.policy.load_state_dict(snapshot.weights)
                if average_of(self.trainer) is not None:  # what is written is the average, which has to go back, too
                    self.trainer.load_state_dict(snapshot.state["trainer"])
            for generator, state in snapshot.generators:
                generator.set_state(state)
            for name, kept in snapshot.buffers.items():
                self.policy.get_buffer(name).copy_(kept)
        if self.run_folder is None:
            return
        self._write(checkpoint.step_folder(self.run_folder, progress.step), progress, snapshot)
        self.saved_step, self._saved_at = progress.step, time.monotonic()
        if is_main():
            checkpoint.prune(self.run_folder, self.keep_checkpoints)

    def save_best(self, progress: Progress) -> None:
        """Write the checkpoint with the best dev metric."""
        if self.run_folder is not None:
            self._write(checkpoint.best_folder(self.run_folder), progress)

    def note_present(self, progress: Progress, resumed_from: Path | None) -> None:
        """Note that the checkpoint of the present step is there, where the run goes on from it: nothing less exact may replace it."""
        if self.run_folder is not None and resumed_from is not None:
            if checkpoint.step_folder(self.run_folder, progress.step).resolve() == resumed_from.resolve():
                self.saved_step = progress.step

    @property
    def unsaved_s(self) -> float:
        """Seconds since the last checkpoint, or since the run began."""
        return time.monotonic() - self._saved_at

    def rescue(self, progress: Progress, states: Sequence[Snapshot | None], *, together: bool = False) -> str:
        """Save after a failure, where there is something newer than the last checkpoint; say which checkpoint there is.

        Args:
            progress: how far the run is.
            states: what may be saved, best first; None for the present state. The next one is tried where saving one fails.
            together: whether all processes do this, as they do after a failure of all.
        """
        failed, takes_part = "", together or num_processes() == 1  # or the other processes would be waited for
        for snapshot in states if takes_part else ():
            step = progress.step if snapshot is None else snapshot.progress.step
            if self.run_folder is None or step <= max(0, self.saved_step):
                break
            try:
                self.save(progress, snapshot)
                break
            except Exception as error:  # whatever it is, the error that is on its way matters more
                failed = f" (saving another failed: {error})"
        return f"{self.left()}{failed}"

    def after_loss(self) -> str:
        """Say how a run of several processes goes on when one of them is gone; its state is gone, too, so nothing more is saved."""
        if self.newest is None:
            return "no checkpoint had been saved yet; the same command with --overwrite starts it anew"
        return f"{self.newest} was kept; `{resume_command(self.run_folder)}` goes on from it, with fewer or more processes, too"

    def left(self) -> str:
        """Say which checkpoint there is."""
        return "no checkpoint had been saved yet" if self.newest is None else f"the last checkpoint is {self.newest}"

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint."""
        folders = checkpoint.step_folders(self.run_folder) if self.run_folder is not None else []
        return folders[-1] if folders else None

    def _state(self, progress: Progress) -> dict[str, Any]:
        task = self.task.state_dict() if keeps_state(self.task) else None
        return {"task": task, "random": random_state(), **self._reached(progress)}

    def _reached(self, progress: Progress) -> dict[str, Any]:
        return {
            "progress": asdict(progress),
            "metrics_num_bytes": self.lines.num_bytes() if self.lines else 0,
            "metrics_digest": self.lines.digest() if self.lines else None,
        }

    def _copied_state(self, progress: Progress) -> dict[str, Any]:
        state = self._state(progress)
        return state | {"task": _copied(state["task"])}  # the rest is made anew each time

    def _write(self, folder: Path, progress: Progress, snapshot: Snapshot | None = None) -> None:
        state = self._state(progress) if snapshot is None else self._reached(progress) | snapshot.state
        if "trainer" not in state:
            state["trainer"] = self.trainer.state_dict()
        handed_over = [folder.with_name(f".{folder.name}.process{index}.partial") for index in range(1, num_processes())]
        if not is_main():
            folder.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, handed_over[process_index() - 1])
        wait_for_all("to save")
        meta = {
            **self.meta,
            "step": progress.step,
            "num_processes": num_processes(),
            "evaluation": progress.evaluation if progress.evaluated_step == progress.step else {},
        }
        # What is evaluated is what others load; the trainer's state holds the weights that learn, too.
        tables = {name: state["trainer"][name] for name in getattr(self.trainer, "weights_by_name", ())}
        state |= {"trainer": {name: part for name, part in state["trainer"].items() if name not in tables}} if tables else {}
        with averaged_weights(self.trainer), written_out(self.policy):
            if is_main():
                checkpoint.save(folder, self.policy, state, meta, other_processes=handed_over, tables=tables)
            wait_for_main("for the checkpoint")


def keeps_state(task: Any) -> TypeGuard[Any]:
    """Say whether a task has a state to be saved; without one a resumed run draws its data anew."""
    return hasattr(task, "state_dict") and hasattr(task, "load_state_dict")


def restore(folder: Path, trainer: Trainer, task: Task, policy: nn.Module, *, shared: bool = False) -> tuple[Progress, int, str | None]:
    """Go back to a checkpoint; give the progress, and length and SHA-256 of the metrics file.

    A process that the checkpoint knows nothing of joins with what all share, see `seqrl.run.elastic`.

    Args:
        folder: of the checkpoint.
        trainer: gets its state back.
        task: likewise.
        policy: gets its weights back.
        shared: whether the processes divide each batch, so that the state of the first one is that of all.

    Raises:
        ValueError: when the checkpoint is of another architecture, or damaged.
    """
    checkpoint.load_weights(folder, policy)
    new = elastic.is_new(folder) and not shared
    state = checkpoint.load_state(folder, 0 if new or shared else process_index())
    if tables := getattr(trainer, "weights_by_name", ()):
        state["trainer"] |= checkpoint.load_tables(folder, tables)
    if new:
        elastic.join(state, trainer, task)
    else:
        trainer.load_state_dict(state["trainer"])
        if state["task"] is not None and keeps_state(task):
            task.load_state_dict(state["task"])
        restore_random_state(state["random"])
    present = {PROGRESS.get(name, name): value for name, value in state["progress"].items()}
    return Progress(**present), int(state["metrics_num_bytes"]), state.get("metrics_digest")


def _copied(state: Any) -> Any:
    """Copy plain data with tensors in it."""
    return tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), state)


def num_bytes(state: Any) -> int:
    """Give the size of all tensors in plain data."""
    return sum(leaf.nbytes for leaf in tree_leaves(state) if isinstance(leaf, Tensor))
