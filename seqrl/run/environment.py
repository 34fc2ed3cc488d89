"""Notes down what a run depended on besides its configuration."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seqrl.run.exchange import replace_text
from seqrl.run.json_text import brief, read_json

PACKAGES = ("seqrl", "torch", "numpy", "numba", "transformers", "accelerate", "safetensors", "gymnasium")


def environment(**facts: Any) -> dict[str, Any]:
    """Collect versions, hardware, command and commit, beside other facts of a start."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "folder": str(Path.cwd()),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        **facts,
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
    }


def write_environment(path: Path, **facts: Any) -> None:
    """Write `environment` as JSON, one entry for each time the run was started; the file is replaced at once.

    One that is damaged, which nothing depends on, is renamed to `aside_env.json`.

    Args:
        path: the file.
        facts: `seed`; `chosen`, dtypes and threads, and why; `policy`, which of several ways it runs in; `signatures`, how reward and
            dev metrics are computed, see `seqrl.run.signatures`.
    """
    try:
        starts = read_json(path) if path.exists() else []
        if not isinstance(starts, list):
            raise ValueError(f"expected a list of the run's starts, got {brief(starts)}")
    except ValueError as error:
        aside = path.with_name(f"aside_{path.name}")
        print(f"seqrl: {path}: damaged ({error}); it is called {aside.name} now, and a new one is begun", file=sys.stderr)
        os.replace(path, aside)
        starts = []
    replace_text(path, json.dumps([*starts, environment(**facts)], indent=1) + "\n")


def read_starts(run_folder: Path) -> list[dict[str, Any]]:
    """Give what was written at each start of a run, the newest last; nothing for a run of an older version.

    Raises:
        ValueError: when the file is damaged.
    """
    path = run_folder / "env.json"
    starts = read_json(path) if path.is_file() else []
    return [dict(start) for start in starts] if isinstance(starts, list) else []


def version_of(package: str) -> str | None:
    """Give the version of an installed package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the code that runs, with a mark when it was changed since."""
    source = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^model name\s*:(.*)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
