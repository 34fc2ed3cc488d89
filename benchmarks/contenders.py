"""Runs a benchmark's contenders, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
