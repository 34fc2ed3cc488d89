"""What benchmarks share: contenders in processes of their own, runs that count only when they came to their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqrl.run.config import RunConfig
    from seqrl.run.loop import RunResult

ROOT = Path(__file__).resolve().parent.parent


def run_contender(script: str, name: str, arguments: list[str]) -> dict[str, Any]:
    """Call a script with --worker, without settings of threads from outside, and read the JSON in the last line that it prints.

    Args:
        script: the benchmark's own file.
        name: of the contender.
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
    if not begun or checkpoint.read_meta(checkpoint.find(config.run_folder))["step"] < config.steps:
        whole(train(config, resume=begun, overwrite=not begun))
    return config.run_folder
