"""Lists what is at hand: tasks, trainers, configurations, runs."""

from __future__ import annotations

import json
from pathlib import Path

from seqrl.run import registry
from seqrl.run.configs import named_configs
from seqrl.run.json_text import MOST_CHARACTERS, parse_json
from seqrl.run.lock import holder_of

MAX_FIGURES = 2  # a line that wraps is not read


def listing(configs: Path | None, runs: Path) -> str:
    """Describe what can be trained and what was.

    Args:
        configs: folder of YAML files, whose first comment line says what each is; those that `find_config` finds when None.
        runs: folder of runs.
    """
    title, files = "configs", named_configs()
    if configs is not None:
        title, files = f"configs in {configs}", [(str(path), path) for path in sorted(configs.rglob("*.yaml"))]
    sections = {
        "tasks": [(name, f"({point.value})") for name, point in registry.registered(registry.TASKS).items()],
        "trainers": [(name, f"({point.value})") for name, point in registry.registered(registry.TRAINERS).items()],
        title: [(name, _first_comment(path)) for name, path in files],
        f"runs in {runs}": [(str(path.parent), _last_metrics(path.parent)) for path in sorted(runs.rglob("config.yaml"))],
    }
    lines = []
    for title, entries in sections.items():
        width = max((len(name) for name, _ in entries), default=0)
        lines += [title, *(f"  {name:<{width}}  {text}".rstrip() for name, text in entries or [("none", "")])]
    return "\n".join(lines)


def _first_comment(path: Path) -> str:
    # What is no text, or no file, is listed all the same; whoever trains with it is told.
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(MOST_CHARACTERS)
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _last_metrics(run_folder: Path) -> str:
    """Step and first metrics of the last evaluation, as far as the newest line that is whole, the best of the watched one, if it runs."""
    path, running = run_folder / "metrics.jsonl", "  running" if holder_of(run_folder) else ""
    if not path.is_file():
        return running
    step, metrics = 0, dict[str, float]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = parse_json(line)
        except json.JSONDecodeError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        step = row["step"]
        metrics = {key: value for key, value in row.items() if key.startswith("dev/") and isinstance(value, int | float)} or metrics
    best = [key for key in metrics if "/best_" in key]
    first = [key for key in metrics if key not in best][:MAX_FIGURES]
    shown = "  ".join(f"{key} {metrics[key]:.4g}" for key in [*first, *best])
    return f"step {step}  {shown}{running}"
