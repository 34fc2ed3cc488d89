"""What benchmarks share: competitors in processes of their own, runs that count only when they came to their end."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqrl.run.config import RunConfig
    from seqrl.run.loop import RunResult

ROOT = Path(__file__).resolve().parent.parent


def run_competitor(script: str, name: str, arguments: list[str]) -> dict[str, Any]:
    """Call a script with --worker, without settings of threads from outside, and read the JSON in the last line that it prints.

    Args:
        script: the benchmark's own file.
        name: of the competitor.
        arguments: more of the command line.

    Raises:
        RuntimeError: with what the process said when it failed.
    """
    command = [sys.executable, script, "--worker", name, *arguments]
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=settings)
    if abs(done.returncode) % 128 in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_benchmark(main: Callable[[], None]) -> int:
    """Call a benchmark's main function; give its exit code, 130 or 143 when a signal ended it."""
    if "--worker" in sys.argv:  # seqrl sets how threads wait, which is not for others to follow
        main()
        return 0
    from seqrl.run.interrupt import run_command

    return run_command(main, name=Path(sys.argv[0]).name)


@contextmanager
def checked_out(commit: str) -> Iterator[tuple[str, Path]]:
    """Check a commit out beside this tree, and remove it again; gives the commit's whole name and the folder.

    Raises:
        RuntimeError: when git fails, with what it said.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout.strip()

    with tempfile.TemporaryDirectory() as folder:
        name, tree = git("rev-parse", commit), Path(folder) / "old"
        git("worktree", "add", "--detach", str(tree), name)
        try:
            yield name, tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def updates_in_the_same_time(self_critical: RunConfig, cross_entropy: RunConfig, *, rounds: int) -> int:
    """Count the cross-entropy updates that take as long as a self-critical run, by CPU time, measured in turn.

    Args:
        self_critical: how long its run is, and what an update of it does.
        cross_entropy: what an update of the control does.
        rounds: updates of each that are timed.
    """
    from seqrl.run.train import build

    pairs = []
    for config in (self_critical, cross_entropy):
        task, policy = build(config)
        pairs.append((config.trainer.build(policy, seed=0, num_updates=config.num_updates), task))
    taken: list[list[float]] = [[], []]
    for _ in range(rounds):
        for (trainer, task), times in zip(pairs, taken, strict=True):
            start = time.process_time()
            trainer.update(trainer.collect(task))
            times.append(time.process_time() - start)
    slow, fast = (statistics.median(times) for times in taken)
    print(f"an update takes {slow:.2f} s self-critical, {fast:.2f} s with cross-entropy")
    return round(self_critical.num_updates * slow / fast)


def whole(result: RunResult) -> RunResult:
    """Give a run's result, unless a signal ended it early, which then ends the benchmark, too.

    Raises:
        Interrupted: when it was.
    """
    from seqrl.run.interrupt import Interrupted, current_command

    if result.interrupted:
        command = current_command()
        if command is not None:
            command.hint = "no result was written; the same command goes on with the runs that are missing"
        raise Interrupted(result.interrupted)
    return result


def train_once(config: RunConfig) -> Path:
    """Do a run unless it is done already, going on where an earlier start was ended; give its folder.

    Raises:
        Interrupted: when a signal ends it.
        ValueError: when a run of that name was begun with other settings.
    """
    from seqrl.run import checkpoint
    from seqrl.run.train import train

    begun = bool(checkpoint.step_folders(config.run_folder))
    if not begun or checkpoint.read_meta(checkpoint.find(config.run_folder))["step"] < config.num_updates:
        whole(train(config, resume=begun, overwrite=not begun))
    return config.run_folder
