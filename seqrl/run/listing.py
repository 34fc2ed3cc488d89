"""Lists what is at hand: tasks, trainers, configurations, runs."""

from __future__ import annotations

import json
from pathlib import Path

from seqrl.run import registry


def listing(configs: Path, runs: Path) -> str:
    """Describe what can be trained and what was.

    Args:
        configs: folder of YAML files; the first comment line of each says what it is.
        runs: folder of runs.
    """
    sections = {
        "tasks": [f"{name}  ({point.value})" for name, point in registry.registered(registry.TASKS).items()],
        "trainers": [f"{name}  ({point.value})" for name, point in registry.registered(registry.TRAINERS).items()],
        f"configs in {configs}": [f"{path}  {_first_comment(path)}".rstrip() for path in sorted(configs.rglob("*.yaml"))],
        f"runs in {runs}": [f"{path.parent}  {_last_figures(path.parent)}".rstrip() for path in sorted(runs.rglob("config.yaml"))],
    }
    return "\n".join(line for title, entries in sections.items() for line in (title, *(f"  {entry}" for entry in entries or ["none"])))


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _last_figures(run_folder: Path) -> str:
    """Step and figures of the last evaluation, as far as the newest line that is whole."""
    path = run_folder / "metrics.jsonl"
    if not path.is_file():
        return ""
    step, figures = 0, dict[str, float]()
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        step = row["step"]
        figures = {key: value for key, value in row.items() if key.startswith("dev/")} or figures
    shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items() if value is not None)
    return f"step {step}  {shown}"
