"""Notes down what a run depended on besides its configuration."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seqrl.run.json_text import brief, read_json

PACKAGES = ("seqrl", "torch", "numpy", "numba", "transformers", "accelerate", "safetensors", "gymnasium")


def environment(*, seed: int, chosen: str = "", policy: str = "", signatures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Collect versions, hardware, command and commit.

    Args:
        seed: of the run.
        chosen: dtypes and threads, and why.
        policy: which of several ways it runs in.
        signatures: how reward and dev metrics are computed, see `seqrl.run.signatures`.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "folder": str(Path.cwd()),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "chosen": chosen,
        "policy": policy,
        "signatures": dict(signatures or {}),
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
    }


def write_environment(path: Path, *, seed: int, chosen: str = "", policy: str = "", signatures: Mapping[str, Any] | None = None) -> None:
    """Write `environment` as JSON, one entry for each time the run was started; the file is replaced at once.

    One that is damaged, which nothing depends on, is renamed to `aside_env.json`.
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
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(
        json.dumps([*starts, environment(seed=seed, chosen=chosen, policy=policy, signatures=signatures)], indent=1) + "\n",
        encoding="utf-8",
    )
    os.replace(partial, path)


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
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
