"""Chooses dtypes and the number of CPU threads by timing the run's own updates, since no processor says what is fast on it."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from seqrl.distributed import alone, available_cores, connect, from_main, is_main, num_launched
from seqrl.protocols import Task
from seqrl.run.config import RunConfig, flatten, settings_of
from seqrl.run.timed_updates import Bench, Clock, Start

# Smaller policies without convolutions are done with an operation before a second thread has woken up or a number is converted.
SMALLEST_MEASURED_POLICY = 100_000
FEWEST_UPDATES = 50  # a shorter run ends before a measurement has paid
LEAST_GAIN = 1.2


@dataclass(frozen=True)
class Settings:
    """What was chosen and why.

    Attributes:
        num_threads: of torch on the CPU.
        precisions: dtype by the setting's dotted name, for instance {"trainer.optimiser.precision": "bf16"}.
        reason: in plain words.
        measured: whether updates were made, after which task and policy are to be built anew.
    """

    num_threads: int
    precisions: dict[str, str]
    reason: str
    measured: bool = False

    def __str__(self) -> str:
        formats = "".join(f"{name} {value}, " for name, value in self.precisions.items())
        return f"{formats}{threads(self.num_threads)} ({self.reason})"

    def applied(self, config: RunConfig) -> RunConfig:
        """Write them into a configuration, so that a run from it has the same weights to the bit."""
        return _replaced(config, {"num_threads": self.num_threads, **self.precisions})


def known_threads(config: RunConfig) -> tuple[int, str] | None:
    """Give the number of threads that needs no measurement, and why; None where there is none."""
    if config.num_threads is not None:
        return config.num_threads, "as num_threads says"
    by_environment = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if by_environment.isdigit() and int(by_environment) > 0:
        return int(by_environment), "as OMP_NUM_THREADS says"
    if available_cores() == 1:
        return 1, "there is one core"
    if torch.accelerator.is_available():
        return available_cores(), f"one a core; the policy is on {torch.accelerator.current_accelerator()}"
    return None


def choose_settings(config: RunConfig, start: Start, task: Task, policy: nn.Module) -> Settings:
    """Choose what the configuration leaves open: every `precision: auto`, and `num_threads: null`.

    The run's own update, collecting included, is timed in fp32 on one thread, then with each precision in bf16, then with 2, 4,
    ... threads. What is a fifth faster is taken; ties go to fp32 and to fewer threads. Formats are compared by processor
    time, which other programs do not change, threads by the clock on the wall. A candidate that takes longer than what it
    is compared with is broken off. With several processes the first one measures, alone, for all.

    Task and policy are used up: whoever calls this builds them anew where `Settings.measured`.

    Args:
        config: of the run.
        start: builds task and policy of a configuration, with the weights that the run starts from.
        task: what it gave for `config`.
        policy: the same.
    """
    paths, known = automatic(config), known_threads(config)
    if known is not None and not paths:
        return Settings(known[0], {}, known[1])
    connect()
    settings = from_main(_choose(config, start, task, policy, paths, known) if is_main() else None)
    assert settings is not None
    return settings


def automatic(config: Any) -> list[str]:
    """List the dotted names of all settings `precision: auto`."""
    return [name for name, value in settings_of(config).items() if name.rpartition(".")[2] == "precision" and value == "auto"]


def chosen_before(config: RunConfig, kept: Mapping[str, Any]) -> RunConfig:
    """Fill in what a configuration leaves open with what an earlier run has chosen.

    Args:
        config: of the run to do.
        kept: config.yaml of the earlier one, as plain data, so that nothing that it names is imported.
    """
    values = flatten(kept)
    config = dataclasses.replace(config, num_threads=config.num_threads or values.get("num_threads"))
    return _replaced(config, {path: values[path] for path in automatic(config) if path in values})


def _choose(config: RunConfig, start: Start, task: Task, policy: nn.Module, paths: list[str], known: tuple[int, str] | None) -> Settings:
    number, said = (known[0], [known[1]]) if known else (1, [])
    plain, most_threads = dict.fromkeys(paths, "fp32"), available_cores()
    reason = _no_work(config, policy)
    if reason:
        return Settings(number, plain, "; ".join([*said, reason]))
    choice = _Choice(Bench(start, task, policy), Settings(number, plain, "").applied(config))
    del task, policy
    try:
        with alone(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself will give them
            # CPU time is what an update takes on one thread where nothing else runs.
            clock = time.process_time if number == 1 and not torch.accelerator.is_available() else time.perf_counter
            for path in paths:
                choice.compare({path: "bf16"}, f"{path} bf16", clock)
            more = 2
            while known is None and more <= most_threads and choice.compare({"num_threads": more}, threads(more), time.perf_counter):
                more *= 2
    except Exception as error:  # whatever it is, the run will meet it, too, and say where
        return Settings(number, plain, "; ".join([*said, f"not measured, since an update failed: {error}"]), measured=True)
    best, said = choice.best, [*said, *choice.said]
    assert best.num_threads is not None
    if best.num_threads > 1 and os.environ.get("OMP_WAIT_POLICY") == "PASSIVE":
        said.append(
            "threads that wait awake, by OMP_WAIT_POLICY=ACTIVE, may be faster where no other program runs, and are far slower beside one"
        )
    return Settings(best.num_threads, {path: attrgetter(path)(best) for path in paths}, "; ".join(said), measured=True)


def _no_work(config: RunConfig, policy: nn.Module) -> str:
    """Say why a measurement would not pay; nothing where it would."""
    number = sum(parameter.numel() for parameter in policy.parameters())
    if number < SMALLEST_MEASURED_POLICY and not any(isinstance(module, nn.Conv2d) and number for module in policy.modules()):
        return f"a policy of {number:,} parameters has no work for more"
    if config.num_updates < FEWEST_UPDATES:
        return f"not measured for {config.num_updates} updates"
    if torch.accelerator.is_available() and num_launched() > 1:
        return "not measured with several processes on accelerators"
    return ""


class _Choice:
    """Goes from the plain configuration to better ones, and notes what it saw.

    Args:
        bench: times updates.
        best: the configuration to begin with.
    """

    def __init__(self, bench: Bench, best: RunConfig) -> None:
        self.bench, self.best, self.said = bench, best, list[str]()
        self._clock: Clock | None = None
        self._seconds = 0.0

    def compare(self, change: Mapping[str, Any], name: str, clock: Clock) -> bool:
        """Take other settings where they are clearly faster; say whether they are as fast at least."""
        if self._clock is not clock:
            if self._clock is None:
                self.bench.shorten(self.best)
            self._clock, self._seconds = clock, self.bench.seconds(self.best, clock)
            kind = "CPU time" if clock is time.process_time else f"on {threads(self.best.num_threads or 1)}"
            self.said.append(f"{self.bench.share_of_update} took {_ms(self._seconds)} ({kind})")
        before_s = known_s = self._seconds
        candidate = _replaced(self.best, change)
        seconds = self.bench.seconds(candidate, clock, known_s)
        if seconds * LEAST_GAIN <= known_s:
            # Once more, since another program may have held the other up.
            known_s = min(known_s, self.bench.seconds(self.best, clock, 2 * known_s))
            seconds = max(seconds, self.bench.seconds(candidate, clock, known_s))
        self.said.append(f"{name}: {_ms(seconds)}" if seconds < math.inf else f"{name}: broken off, slower")
        if seconds * LEAST_GAIN <= known_s:
            self.best, self._seconds = candidate, seconds
        return seconds <= before_s


def _replaced(config: Any, values: Mapping[str, Any]) -> Any:
    """Set fields by their dotted names in a copy."""
    for path, value in values.items():
        name, _, rest = path.partition(".")
        config = dataclasses.replace(config, **{name: _replaced(getattr(config, name), {rest: value}) if rest else value})
    return config


def threads(number: int) -> str:
    """Say how many threads."""
    return f"{number} thread{'s' if number > 1 else ''}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
