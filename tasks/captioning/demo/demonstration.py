"""The course of the demonstration: evaluate, optimise beside the control, evaluate again, draw."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from seqrl.run import checkpoint
from seqrl.run.display import format_seconds
from seqrl.run.interrupt import current_command
from seqrl.run.log import read_metrics
from seqrl.run.train import build, load, start_from, task_fingerprints
from seqrl.tasks.captioning.demo import child
from seqrl.tasks.captioning.demo.plan import BUDGET_S, CONTROL, FIRST, LIVE, SLOWER_TOGETHER, UPDATES, Pace, Plan, measure_update
from seqrl.tasks.captioning.demo.processes import Stage, run_side_by_side
from seqrl.tasks.captioning.demo.report import Outcome, draw_pictures, evaluate, print_table, summary
from seqrl.tasks.captioning.demo.screen import Track, watching
from seqrl.tasks.captioning.task import CaptioningTask

FOLDER = Path("runs/demo")
AFTER = {"control": CONTROL, "after": LIVE}


@dataclass
class Demonstration:
    """One demonstration.

    Args:
        folder: where runs and pictures go.
        plan: what to train.
        resume: take up what earlier processes have trained.
    """

    folder: Path
    plan: Plan
    resume: bool = False
    start_s: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, parsed: argparse.Namespace, overrides: list[str]) -> Demonstration:
        """Make it as the command line asks for it.

        Raises:
            ValueError: when arguments contradict each other.
            FileNotFoundError: when there is nothing to go on with, or no captioner.
        """
        wanted = {name: count for name, count in {FIRST: parsed.cross_entropy_updates, LIVE: parsed.updates}.items() if count}
        if parsed.from_scratch and parsed.checkpoint:
            raise ValueError("--from-scratch and --checkpoint: expected one of them")
        if parsed.resume:
            if overrides or parsed.from_scratch or parsed.checkpoint or parsed.minutes or wanted:
                raise ValueError("--resume: goes on as the demonstration was begun; expected --folder at most beside it")
            plan = Plan.read(parsed.folder)
        else:
            source = None if parsed.checkpoint is None else str(checkpoint.find(parsed.checkpoint, prefer_best=True).resolve())
            plan = Plan(parsed.seed, overrides, parsed.from_scratch, source, parsed.minutes, wanted)
            forget(parsed.folder)
        say_way_on(parsed.folder)
        return cls(parsed.folder, plan, parsed.resume)

    def run(self) -> dict[str, Outcome]:
        """Do all of it; give what the captioner before, the control and the captioner after reach on the test images."""
        if self.plan.from_scratch:
            self.train_first()
        task, outcomes = self.look_before()
        updates = self.plan.updates
        print(f"\nSelf-critical training on CIDEr-D, {updates[LIVE]} updates; beside it, from the same captioner and for the same time,")
        print(f"the control: more cross-entropy, {updates[CONTROL]:,} updates.\n", flush=True)
        self.train([LIVE, CONTROL])
        print("Evaluating on the test images ...", flush=True)
        for label, name in AFTER.items():
            outcomes[label] = self.outcome(label, name)
        print_table(list(outcomes.values()))
        for path in draw_pictures(task.data.test, outcomes, [self.folder / name for name in AFTER.values()], self.folder / "figures"):
            print(f"wrote {path}")
        print(f"{format_seconds(time.perf_counter() - self.start_s)} in all")
        return outcomes

    def train_first(self) -> None:
        """Train a captioner by cross-entropy, for as long as is announced."""
        config = self.plan.config(FIRST, self.folder)
        if FIRST not in self.plan.updates:
            task, policy = build(config)
            update_s = SLOWER_TOGETHER * measure_update(config, task, policy)
            count = self.plan.wanted.get(FIRST, config.num_updates)
            if self.plan.minutes is not None:
                count = max(1, min(count, int((60 * self.plan.minutes - BUDGET_S) / update_s)))
            self.plan.updates[FIRST] = count
            self.keep_plan()
            seconds = count * update_s + BUDGET_S
            print(f"{count:,} updates of cross-entropy, then the demonstration: at most {format_seconds(seconds)} on this machine.")
        self.train([FIRST])

    def look_before(self) -> tuple[CaptioningTask, dict[str, Outcome]]:
        """Evaluate the captioner that is to be optimised, and reckon the updates."""
        config, imported_s = self.plan.config(LIVE, self.folder), time.process_time()
        build(config)  # draws the scenes where they are not there yet, which is no part of the time announced
        drawn_s = time.process_time()
        task, policy = build(config)
        loaded_s = time.process_time() - drawn_s
        assert isinstance(task, CaptioningTask)
        assert config.init_from is not None
        start_from(config.init_from, policy, task_fingerprints(task))
        print(f"Before: a captioner that cross-entropy has taught, on {len(task.data.test)} scenes that it has never seen ...", flush=True)
        began = time.process_time()
        before = evaluate("before", task, policy, 0.0)
        evaluate_s = time.process_time() - began
        print(summary(before), flush=True)
        if LIVE not in self.plan.updates:
            self.reckon(task, policy, imported_s + loaded_s, evaluate_s)
        return task, {"before": before}

    def reckon(self, task: CaptioningTask, policy: nn.Module, start_s: float, evaluate_s: float) -> None:
        """Decide how many updates fit into the time, from the pace of a few."""
        configs = {name: self.plan.config(name, self.folder) for name in AFTER.values()}
        pace = Pace(start_s, evaluate_s, {name: measure_update(config, task, policy) for name, config in configs.items()})
        budget_s = BUDGET_S if self.plan.minutes is None or self.plan.from_scratch else 60 * self.plan.minutes
        # Until here the same has been done as a child does at its start, and an evaluation, and the pace has been measured.
        spent_s = 0.0 if self.plan.from_scratch else pace.spent_s()
        updates = self.plan.wanted.get(LIVE) or pace.fitting_updates(budget_s - spent_s)
        if updates < UPDATES and LIVE not in self.plan.wanted:
            print(f"This machine is slow: {updates} updates instead of {UPDATES} fit into the time.")
        self.plan.updates |= {LIVE: updates, CONTROL: pace.control_updates(updates)}
        self.keep_plan()
        print(f"About {format_seconds(pace.total_s(updates))} from here.")

    def keep_plan(self) -> None:
        """Write the plan down; from here on the demonstration can be gone on with."""
        self.plan.write(self.folder)
        say_way_on(self.folder)

    def train(self, names: Sequence[str]) -> None:
        """Run stages beside each other, those that are not finished yet."""
        tracks = [Track(name, self.folder / name, self.plan.updates[name]) for name in names]
        stages = [self.stage(name) for name in names if not (self.resume and self.finished(name))]
        with watching(tracks) as show:
            run_side_by_side(stages, show)
        for name in names:
            if not self.finished(name):
                raise ValueError(f"{self.folder / name}: ended without its last checkpoint; see {self.folder / f'{name}.log'}")

    def stage(self, name: str) -> Stage:
        """Say how to train a stage, or to go on with it."""
        run_folder = self.folder / name
        if self.resume and checkpoint.step_folders(run_folder):
            command = ["resume", str(run_folder), "--quiet"]
        else:
            command = ["train", *self.plan.arguments(name, self.folder), "--quiet", "--overwrite"]
        return Stage(name, [sys.executable, "-m", child.__name__, *command], self.folder / f"{name}.log")

    def finished(self, name: str) -> bool:
        """Say whether a stage has its last checkpoint."""
        folders = checkpoint.step_folders(self.folder / name)
        return bool(folders) and checkpoint.read_meta(folders[-1])["step"] == self.plan.updates[name]

    def outcome(self, label: str, name: str) -> Outcome:
        """Evaluate what a stage has trained."""
        _, task, policy, _ = load(self.folder / name, ["--task.evaluation.max_images=0"])
        assert isinstance(task, CaptioningTask)
        seconds = [line["time/train_s"] for line in read_metrics(self.folder / name) if "time/train_s" in line]
        return evaluate(label, task, policy, max(seconds, default=0.0))


def say_way_on(folder: Path) -> None:
    """Let what a signal ends say how to go on with what is in a folder."""
    command = current_command()
    if command is None:
        return
    arguments = "--resume" if folder == FOLDER else f"'--resume --folder={folder}'"
    begun = (folder / "plan.json").is_file()
    command.hint = f"`make demo ARGS={arguments}` goes on" if begun else "nothing had been trained yet"


def forget(folder: Path) -> None:
    """Delete what an earlier demonstration in this folder could be gone on with."""
    (folder / "plan.json").unlink(missing_ok=True)
    for name in (FIRST, LIVE, CONTROL):
        shutil.rmtree(folder / name / "checkpoints", ignore_errors=True)
