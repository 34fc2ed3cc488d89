"""Says where a measurement comes from: command, seeds, versions, CPU, commit, and whether the tree was clean.

Every script of this folder writes what `provenance` gives under the key `provenance` of its file in benchmarks/results, so that
`python benchmarks/report.py` can print it below the figures. A script calls `require_clean` before it measures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    *("torch", "numpy", "numba", "gymnasium", "transformers", "accelerate", "safetensors"),
    *("ale-py", "mujoco", "stable-baselines3", "pycocoevalcap", "scikit-learn"),
    *("rouge-score", "sacrebleu", "nltk", "sentence-transformers"),
)
FIELDS = ("command", "seeds", "versions", "cpu", "threads", "commit", "clean", "date")
# What a measurement writes itself does not make the tree dirty for the next one.
WRITTEN_BY_MEASUREMENTS = ("benchmarks/results", "docs/figures")
PROCESSOR_FLAGS = {"bf16": "avx512_bf16", "amx": "amx_bf16"}


def provenance(seeds: Sequence[int], *, command: Sequence[str] | None = None, threads: int | None = None) -> dict[str, Any]:
    """Collect where a measurement comes from.

    Args:
        seeds: that were run.
        command: arguments after `python`; this process's by default.
        threads: that the measured process used; PyTorch's number by default, where it is imported.

    Returns:
        the fields of `FIELDS`; `clean` is True when the code is that of `commit`, and None outside of git.

    Raises:
        RuntimeError: when `seqrl` would be imported from another place than this tree.
    """
    check_source()
    if threads is None and (torch := sys.modules.get("torch")) is not None:
        threads = torch.get_num_threads()
    commit, changes = _git("rev-parse", "HEAD"), changed_files()
    return {
        "command": shown_command(sys.argv if command is None else command),
        "seeds": list(seeds),
        "versions": {"python": platform.python_version()} | {name: found for name in PACKAGES if (found := _version(name))},
        "cpu": processor(),
        "threads": threads,
        "commit": commit,
        "clean": None if changes is None else not changes,
        "date": datetime.now(UTC).date().isoformat(),
    }


def require_clean(*, allow_dirty: bool = False) -> None:
    """Refuse to measure code that no commit holds.

    Raises:
        SystemExit: with the files that were changed.
    """
    changes = changed_files()
    if changes and not allow_dirty:
        raise SystemExit(
            f"the tree has changes that no commit holds ({', '.join(changes[:5])}); expected a clean one, since figures name their commit. "
            "Commit them or measure in a `git worktree`; --allow-dirty measures all the same and says so in the file"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark has in common."""
    parser.add_argument("--allow-dirty", action="store_true", help="measure though the tree has changes; the file then says so")


def changed_files() -> list[str] | None:
    """Name the files that differ from the commit or that it does not know, measurements left out; None outside of git."""
    said = _git("status", "--porcelain", "--", ".", *(f":(exclude){folder}" for folder in WRITTEN_BY_MEASUREMENTS))
    return None if said is None else [line[2:].strip() for line in said.splitlines()]


def processor() -> dict[str, Any]:
    """Give the CPU's model, its number of cores, and whether it has instructions for bf16 and for tiles of it (AMX)."""
    facts = {"model": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    flags: set[str] = set()
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            facts["model"] = value
        elif key == "flags":
            flags = set(value.split())
    return facts | {name: flag in flags for name, flag in PROCESSOR_FLAGS.items()}


def shown_command(arguments: Sequence[str]) -> str:
    """Write a command line without the folders of one machine: /home/me/peer becomes peer, and this tree's files relative."""
    return " ".join(["python", *(_without_folder(argument) for argument in arguments)])


def check_source() -> None:
    """Make sure that what is measured is what the commit names.

    Raises:
        RuntimeError: when `seqrl` would come from another place.
    """
    spec = util.find_spec("seqrl")
    if spec is None or spec.origin is None or ROOT not in Path(spec.origin).resolve().parents:
        found = "nothing" if spec is None else spec.origin
        raise RuntimeError(f"import seqrl: expected this tree's, {ROOT / 'seqrl'}, got {found}; set PYTHONPATH={ROOT}")


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write a file of results as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def _without_folder(argument: str) -> str:
    option, sign, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    path = Path(value)
    if value.startswith(("/", "~")):
        value = path.relative_to(ROOT).as_posix() if ROOT in path.parents else path.name
    return f"{option}{sign}{value}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip("\n")
