"""What the lock of a run's folder, checksums and the look whether the folder is still there cost in a small CartPole run.

python benchmarks/safety_cost.py --pairs 12

configs/control/cartpole_ppo_fast.yaml on one thread, as it is and with a checkpoint every fourth update. Each pair is the same run
with all of it and with none, in turn and in one process, by CPU time; what is spent inside of it is measured by itself, too,
which other work on the machine disturbs less. Writes benchmarks/results/safety_cost.json.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from competitors import whole
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run import checkpoint, config, integrity, lock, log
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.train import train

CONFIG = ROOT / "configs" / "control" / "cartpole_ppo_fast.yaml"
SAVE_EVERY = {"as it is": 0, "a checkpoint every fourth update": 4}
# What is done for safety alone, and what does nothing in its place.
PARTS: dict[tuple[Any, str], Callable[..., Any]] = {
    (lock, "_take"): lambda folder: folder.mkdir(parents=True, exist_ok=True) or os.open(os.devnull, os.O_RDONLY),
    (lock, "_release"): lambda folder, descriptor: os.close(descriptor),
    (log.JsonLines, "_refuse_gone"): lambda self: None,
    (integrity, "write_sums"): lambda folder: None,
    (config.integrity, "sealed"): lambda text: text,
    (checkpoint, "put_back_best"): lambda run_folder: None,
}


class Sum:
    """A SHA-256 that a function gets to see."""

    def __init__(self, content: bytes, call: Callable[..., Any]) -> None:
        self._sum, self._call = hashlib.sha256(content), call

    def update(self, line: bytes) -> None:
        self._call(self._sum.update, line)

    def hexdigest(self) -> str:
        return str(self._call(self._sum.hexdigest))


@contextlib.contextmanager
def changed(make: Callable[[Any, str], Callable[..., Any]], call: Callable[..., Any]) -> Iterator[None]:
    """Put something else in the place of each part, and a function around the sums of lines."""
    with contextlib.ExitStack() as stack:
        for owner, name in PARTS:
            stack.enter_context(mock.patch.object(owner, name, make(owner, name)))
        sums = types.SimpleNamespace(sha256=lambda content=b"": Sum(content, call))
        stack.enter_context(mock.patch.object(log, "hashlib", sums))
        yield


def run(save_every: int, folder: Path) -> float:
    """Do the run; give its CPU time in seconds."""
    overrides = [f"--runs_folder={folder}", "--num_threads=1", "--trainer.optimiser.precision=fp32", f"--save_every={save_every}"]
    settings = read_config(CONFIG, overrides)
    start = time.process_time()
    whole(train(settings, overwrite=True, display=False))
    return time.process_time() - start


def without(save_every: int, folder: Path) -> float:
    """Do the run with none of it."""
    with changed(lambda owner, name: PARTS[owner, name], lambda function, *arguments: ""):
        return run(save_every, folder)


def inside(save_every: int, folder: Path) -> float:
    """Do the run and give the share of its CPU time that is spent inside of it."""
    spent = 0.0

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal spent
        start = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent += time.process_time() - start

    def measured(owner: Any, name: str) -> Callable[..., Any]:
        function = getattr(owner, name)
        return lambda *arguments: call(function, *arguments)

    with changed(measured, call):
        total = run(save_every, folder)
    return spent / total


def measure(save_every: int, pairs: int, folder: Path) -> dict[str, Any]:
    """Give the share of CPU time by both ways."""
    run(save_every, folder)  # warms up
    seconds = []
    for number in range(pairs):
        order = (run, without) if number % 2 else (without, run)
        took = {way: way(save_every, folder) for way in order}
        seconds.append([took[run], took[without]])
    ratios = np.array([both / none - 1 for both, none in seconds])
    return {
        "save_every": save_every,
        "with_s": float(np.median([both for both, _ in seconds])),
        "without_s": float(np.median([none for _, none in seconds])),
        "paired_share": float(np.median(ratios)),
        "paired_share_quartiles": np.quantile(ratios, [0.25, 0.75]).tolist(),
        "inside_share": float(np.median([inside(save_every, folder) for _ in range(pairs)])),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, save_every in SAVE_EVERY.items():
            results[name] = found = measure(save_every, arguments.pairs, Path(folder))
            low, high = found["paired_share_quartiles"]
            print(f"{name}: {found['inside_share']:.2%} inside; paired {found['paired_share']:+.2%} (quartiles {low:+.2%} to {high:+.2%})")
    write_results(RESULTS / "safety_cost.json", {"provenance": provenance([0]), "runs": results})


if __name__ == "__main__":
    sys.exit(run_command(main, name="safety_cost.py"))
