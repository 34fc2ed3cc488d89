"""Compares groups of runs that differ in their seed alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from seqrl.run.log import read_metrics
from seqrl.run.plots import group_by_seed, learning_curves, read_curve
from seqrl.run.statistics import bootstrap_interval, interquartile_mean


@dataclass(frozen=True)
class GroupSummary:
    """One group of runs.

    Attributes:
        name: shared by its runs.
        values: one a run.
        mean: interquartile mean of them.
        low: lower end of its bootstrap 95% interval; NaN with a single run.
        high: upper end.
    """

    name: str
    values: list[float]
    mean: float
    low: float
    high: float


def compare(
    run_folders: Sequence[Path], *, metric: str | None = None, at: Literal["last", "best"] = "last", output: Path | None = None
) -> str:
    """Summarise runs by group, draw their curves, and give the table as text.

    Args:
        run_folders: names that differ in `_seedN` alone are one group.
        metric: logged key; the first run's watched dev figure, or else its first one, when None.
        at: which value of a run counts. The best of several evaluations flatters, since it was chosen on the same items.
        output: folder for compare.png and compare.json; `compare` beside the first run when None.

    Raises:
        FileNotFoundError: when a folder is no run's.
        ValueError: when a run lacks the figure.
    """
    metric = metric or watched_metric(run_folders[0])
    mode = "min" if _early_stop(run_folders[0]).get("mode") == "min" else "max"
    summaries = [summarise(name, folders, metric, at=at, mode=mode) for name, folders in group_by_seed(run_folders).items()]
    output = output or Path(run_folders[0]).parent / "compare"
    output.mkdir(parents=True, exist_ok=True)
    picture = learning_curves(run_folders, [metric], output / "compare.png", axes=("step", "time/elapsed_s"))
    record = {
        "metric": metric,
        "at": at,
        "groups": [asdict(summary) for summary in summaries],
        "runs": [str(folder) for folder in run_folders],
    }
    (output / "compare.json").write_text(json.dumps(record, indent=1).replace("NaN", "null") + "\n", encoding="utf-8")
    return f"{table(summaries, metric, at)}\n\n{picture}\n{output / 'compare.json'}"


def summarise(name: str, folders: Sequence[Path], metric: str, *, at: Literal["last", "best"] = "last", mode: str = "max") -> GroupSummary:
    """Take one value from each run of a group, and their interquartile mean with its interval."""
    values = []
    for folder in folders:
        curve = read_curve(folder, metric)[1]
        values.append(float(curve[-1] if at == "last" else curve.max() if mode == "max" else curve.min()))
    low, high = bootstrap_interval([values], generator=np.random.default_rng(0))
    return GroupSummary(name, values, float(interquartile_mean(values)), float(low), float(high))


def table(summaries: Sequence[GroupSummary], metric: str, at: str) -> str:
    """Write the summaries as a table in plain text that is also Markdown."""
    rows = [["runs", "seeds", f"{metric}, {at}, interquartile mean", "95% interval", "lowest", "highest"]]
    for summary in summaries:
        interval = "one seed" if np.isnan(summary.low) else f"{summary.low:.4g} to {summary.high:.4g}"
        lowest, highest = min(summary.values), max(summary.values)
        rows.append([summary.name, str(len(summary.values)), f"{summary.mean:.4g}", interval, f"{lowest:.4g}", f"{highest:.4g}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def watched_metric(run_folder: Path) -> str:
    """Name the dev figure that a run watched, or else the first one that it logged.

    Raises:
        ValueError: when the run was never evaluated.
    """
    watched = _early_stop(run_folder).get("metric")
    if watched:
        return f"dev/{watched}"
    for row in read_metrics(run_folder):
        for key in row:
            if key.startswith("dev/"):
                return key
    raise ValueError(f"{run_folder}: logged no dev figure; name another with --metric, for instance reward/mean")


def _early_stop(run_folder: Path) -> dict[str, str]:
    path = Path(run_folder) / "config.yaml"
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("early_stop") or {}
