"""What the demonstration trains, for how many updates, so that it ends within the time that it announces.

The number of self-critical updates is fixed, so that the same seed gives the same weights on one machine; only where a short measurement
of their pace says that they would not fit are there fewer, in whole steps of 25. The control gets as many updates of cross-entropy
as fit into the processor time of the self-critical ones, and 5% more, by the measured pace of both: its learning rate has to know
its last update beforehand to be 0 there, so that "until the other one has finished" would stop it in mid-schedule. The table gives
the seconds that both took in the end. Paces are in processor time, which other programs on the machine hardly change.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqrl.metrics.cache_files import atomic_write
from seqrl.protocols import Task
from seqrl.run.config import RunConfig, read_config
from seqrl.run.configs import SHIPPED
from seqrl.run.json_text import read_json

FIRST, LIVE, CONTROL = "cross_entropy", "self_critical", "more_cross_entropy"
CONFIGS = {FIRST: "scenes_converged_xe", LIVE: "scenes_self_critical", CONTROL: "scenes_more_xe"}

BUDGET_S = 240.0
UPDATES, FEWEST_UPDATES, UPDATE_STEP = 200, 50, 25
NUM_EVALUATIONS, DEV_IMAGES = 20, 200
MORE_FOR_THE_CONTROL = 1.05
# Two processes share the caches and the memory's bandwidth; other programs come and go.
SLOWER_TOGETHER = 1.25
MEASURED_UPDATES = 5
_DECIDED = ("num_updates", "eval_every", "save_every", "name", "runs_folder", "init_from", "task.evaluation.max_images")
END_S = 12.0  # of a fast core: curves of the two runs, table and pictures


@dataclass
class Plan:
    """What has been decided; kept in plan.json for `--resume`.

    Attributes:
        seed: of everything.
        overrides: changes of all configurations.
        from_scratch: whether the demonstration trains the captioner first.
        checkpoint: whose weights are optimised instead of those that ship; None for these, and from scratch.
        minutes: how long it may take; None for the usual time.
        wanted: number of updates of the first and the live stage, where they were asked for.
        updates: of each stage, as decided, in the order of training.
    """

    seed: int
    overrides: list[str]
    from_scratch: bool = False
    checkpoint: str | None = None
    minutes: float | None = None
    wanted: dict[str, int] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse overrides of what the plan decides.

        Raises:
            ValueError: naming the option to use.
        """
        for override in self.overrides:
            if override.removeprefix("--").partition("=")[0] in _DECIDED:
                raise ValueError(f"{override}: is reckoned; use --updates, --cross-entropy-updates, --folder or --checkpoint")

    def write(self, folder: Path) -> None:
        """Keep it in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "plan.json") as file:
            file.write(json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what `write` kept.

        Raises:
            FileNotFoundError: when there is none.
        """
        path = folder / "plan.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: there is no such file, so there is no demonstration to go on with; start one without --resume"
            )
        return cls(**read_json(path))

    def arguments(self, name: str, folder: Path) -> list[str]:
        """Give config and overrides of a stage, as on the command line of `seqrl train`."""
        own = [f"--name={name}", f"--runs_folder={folder}", f"--seed={self.seed}"]
        # Not what a measurement chooses: two processes that measure beside each other disturb each other, and may choose differently.
        own += ["--num_threads=1", "--trainer.optimiser.precision=fp32"]
        own += [f"--task.evaluation.max_images={DEV_IMAGES}", *self.overrides]
        if name in self.updates:
            every = max(1, self.updates[name] // NUM_EVALUATIONS)
            own += [f"--num_updates={self.updates[name]}", f"--eval_every={every}", f"--save_every={every}"]
        start = folder / FIRST if self.from_scratch else self.checkpoint
        if name != FIRST and self.from_scratch:
            # The rewards' document frequencies come from the training scenes, and the weights belong to them.
            own.append(f"--task.data.scenes.num_train={self.config(FIRST, folder).task.data.scenes.num_train}")
        if name != FIRST and start is not None:
            own.append(f"--init_from={start}")
        return [str(SHIPPED / "captioning" / f"{CONFIGS[name]}.yaml"), *own]

    def config(self, name: str, folder: Path) -> RunConfig:
        """Read the configuration of a stage."""
        path, *overrides = self.arguments(name, folder)
        return read_config(path, overrides)


@dataclass(frozen=True)
class Pace:
    """What a machine needs, in seconds of processor time.

    Attributes:
        start_s: to import everything and to load the data, which each process does.
        evaluate_s: to caption and score the test images.
        update_s: of each stage, for one update.
    """

    start_s: float
    evaluate_s: float
    update_s: dict[str, float]

    def spent_s(self) -> float:
        """Seconds that the demonstration has taken when the pace has been measured: start, first evaluation and measurement."""
        return 2 * self.start_s + self.evaluate_s + (MEASURED_UPDATES + 1) * sum(self.update_s.values())

    def fixed_s(self) -> float:
        """Seconds that the demonstration takes beside its updates, from the start of the two processes on."""
        dev_s = (NUM_EVALUATIONS + 1) * self.evaluate_s * DEV_IMAGES / 500
        return self.start_s + dev_s + 2 * self.evaluate_s + END_S * max(1.0, self.start_s / 5)

    def total_s(self, updates: int) -> float:
        """Seconds from the start of the two processes to the end."""
        return self.fixed_s() + updates * self.update_s[LIVE] * SLOWER_TOGETHER

    def fitting_updates(self, left_s: float, wanted: int = UPDATES) -> int:
        """Number of self-critical updates that fit into the time left; `wanted` where they do, never under FEWEST_UPDATES."""
        if self.total_s(wanted) <= left_s:
            return wanted
        fitting = (left_s - self.fixed_s()) / (self.update_s[LIVE] * SLOWER_TOGETHER)
        return min(wanted, max(FEWEST_UPDATES, int(fitting) // UPDATE_STEP * UPDATE_STEP))

    def control_updates(self, updates: int) -> int:
        """Number of the control's updates that take as long as that many self-critical ones, or a little longer."""
        return max(1, round(MORE_FOR_THE_CONTROL * updates * self.update_s[LIVE] / self.update_s[CONTROL]))


def measure_update(config: RunConfig, task: Task, policy: nn.Module, *, count: int = MEASURED_UPDATES) -> float:
    """Measure the processor time of one update in seconds: the mean of a few, after one that warms up.

    They are spread over the run, since an update may become cheaper: here cross-entropy is mixed in during the first ones only.

    Args:
        config: whose trainer is measured.
        task: gives the rows.
        policy: stays as it is; a copy is trained.
        count: how many are measured.
    """
    trainer = config.trainer.build(copy.deepcopy(policy), seed=config.seed, num_updates=UPDATES)
    # A device's work does not show in the processor's time.
    clock: Any = time.perf_counter if torch.accelerator.is_available() else time.process_time
    seconds = []
    for number in range(-1, count):
        trainer.optimiser.num_finished = max(0, number) * (UPDATES - 1) // max(1, count - 1)
        start = clock()
        trainer.update(trainer.collect(task))
        seconds.append(clock() - start)
    return statistics.fmean(seconds[1:])
