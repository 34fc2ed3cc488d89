"""Compares groups of runs that differ in their seed alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from seqrl.run.config import read_tree
from seqrl.run.log import read_metrics
from seqrl.run.plots import AXES, group_by_seed, learning_curves, read_curve
from seqrl.run.statistics import Floats, bootstrap_interval, interquartile_mean
from seqrl.run.trust import refuse_links

X = Literal["env_steps", "updates", "seconds"]
AXIS_OF: dict[X, str] = {"env_steps": "progress/num_env_steps", "updates": "step", "seconds": "time/train_s"}
# So many evaluations in a row make a task solved.
NUM_SOLVED = 3


@dataclass(frozen=True)
class GroupSummary:
    """One group of runs.

    Attributes:
        name: shared by its runs.
        values: one a run.
        mean: interquartile mean of them.
        low: lower end of its bootstrap 95% interval; None with a single run.
        high: upper end.
    """

    name: str
    values: list[float]
    mean: float
    low: float | None
    high: float | None


def compare(
    run_folders: Sequence[Path],
    *,
    metric: str | None = None,
    at: Literal["last", "best"] = "last",
    x: X | None = None,
    solved: float | None = None,
    output: Path | None = None,
) -> str:
    """Summarise runs by group, draw their curves, and give the table as text.

    Args:
        run_folders: names that differ in `_seedN` alone are one group.
        metric: logged key; the first run's watched dev metric, or else its first one, when None.
        at: which value of a run counts. The best of several evaluations flatters, since it was chosen on the same items.
        x: what the curves are drawn against: the environments' steps, updates, or seconds of training. Several when None: steps
            where all runs have counted them, or else updates; and seconds.
        solved: the value from which on the task counts as solved; adds a table of when that was, see `solved_at`.
        output: folder for compare.png and compare.json; `compare` beside the first run when None.

    Raises:
        FileNotFoundError: when a folder is no run's.
        ValueError: when a run lacks the metric.
    """
    metric = metric or watched_metric(run_folders[0])
    mode = "min" if _early_stop(run_folders[0]).get("mode") == "min" else "max"
    summaries = [summarise(name, folders, metric, at=at, mode=mode) for name, folders in group_by_seed(run_folders).items()]
    if output is None:
        output = Path(run_folders[0]).parent / "compare"
        refuse_links(output, itself=True)
    output.mkdir(parents=True, exist_ok=True)
    axes = _axes(run_folders) if x is None else (AXIS_OF[x],)
    picture = learning_curves(run_folders, [metric], output / "compare.png", axes=axes)
    tables = [table(summaries, metric, at)]
    if solved is not None:
        tables.append(solved_table(group_by_seed(run_folders), metric, solved, mode, AXIS_OF[x] if x else axes[0]))
    record = {
        "metric": metric,
        "at": at,
        "groups": [asdict(summary) for summary in summaries],
        "runs": [str(folder) for folder in run_folders],
    }
    (output / "compare.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shown = "\n\n".join(tables)
    return f"{shown}\n\n{picture}\n{output / 'compare.json'}"


def _axes(run_folders: Sequence[Path]) -> tuple[str, str]:
    """Choose what all runs can be drawn against."""
    counted = all(any(AXIS_OF["env_steps"] in row for row in read_metrics(folder)) for folder in run_folders)
    return (AXIS_OF["env_steps"], AXIS_OF["seconds"]) if counted else (AXIS_OF["updates"], "time/elapsed_s")


def solved_at(places: Floats, values: Floats, threshold: float, mode: str = "max") -> tuple[float, float]:
    """Find where a task was solved: the first of three values in a row that reach a threshold.

    Args:
        places: [N] where each value was logged.
        values: [N] evaluations.
        threshold: least value, or the largest one where `mode` is "min".
        mode: whether large or small values are good.

    Returns:
        the place, and the share of that and all later values that reach the threshold; both NaN where it never was.
    """
    reached = values >= threshold if mode == "max" else values <= threshold
    for start in range(len(values) - NUM_SOLVED + 1):
        if reached[start : start + NUM_SOLVED].all():
            return float(places[start]), float(reached[start:].mean())
    return math.nan, math.nan


def solved_table(groups: Mapping[str, Sequence[Path]], metric: str, threshold: float, mode: str, axis: str) -> str:
    """Write when the runs of each group solved their task, as a table."""
    rows = [["runs", f"solved ({metric} {'>=' if mode == 'max' else '<='} {threshold:g}, {NUM_SOLVED} in a row)"]]
    rows[0] += [f"{AXES.get(axis, axis)}, each seed", "seconds of training", "stays there"]
    for name, folders in groups.items():
        where = [solved_at(*read_curve(folder, metric, axis), threshold, mode) for folder in folders]
        seconds = [solved_at(*read_curve(folder, metric, AXIS_OF["seconds"]), threshold, mode)[0] for folder in folders]
        solved = [f"{place:,.0f}" if not math.isnan(place) else "never" for place, _ in where]
        after = [f"{value:.3g}" if not math.isnan(value) else "never" for value in seconds]
        stays = [f"{share:.0%}" for _, share in where if not math.isnan(share)]
        rows.append([name, f"{len(stays)} of {len(folders)}", ", ".join(solved), ", ".join(after), ", ".join(stays)])
    return _markdown(rows)


def summarise(name: str, folders: Sequence[Path], metric: str, *, at: Literal["last", "best"] = "last", mode: str = "max") -> GroupSummary:
    """Take one value from each run of a group, and their interquartile mean with its interval."""
    chosen: Callable[[Floats], float] = (lambda curve: curve[-1]) if at == "last" else np.max if mode == "max" else np.min
    values = [float(chosen(read_curve(folder, metric)[1])) for folder in folders]
    low, high = (None if np.isnan(end) else float(end) for end in bootstrap_interval(values, generator=np.random.default_rng(0)))
    return GroupSummary(name, values, float(interquartile_mean(values)), low, high)


def table(summaries: Sequence[GroupSummary], metric: str, at: str) -> str:
    """Write the summaries as a table in plain text that is also Markdown."""
    rows = [["runs", "seeds", f"{metric}, {at}, interquartile mean", "95% interval", "lowest", "highest"]]
    for summary in summaries:
        interval = "one seed" if summary.low is None else f"{summary.low:.4g} to {summary.high:.4g}"
        lowest, highest = min(summary.values), max(summary.values)
        rows.append([summary.name, str(len(summary.values)), f"{summary.mean:.4g}", interval, f"{lowest:.4g}", f"{highest:.4g}"])
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def watched_metric(run_folder: Path) -> str:
    """Name the dev metric that a run watched, or else the first one that it logged, or else the return of its episodes.

    Raises:
        ValueError: when the run was never evaluated.
    """
    watched = _early_stop(run_folder).get("metric")
    if watched:
        return f"dev/{watched}"
    keys = [key for row in read_metrics(run_folder) for key in row]
    for key in (*filter(lambda key: key.startswith("dev/"), keys), "episode/return_mean"):
        if key in keys:
            return key
    raise ValueError(f"{run_folder}: logged no dev metric; name another with --metric, for instance reward/mean")


def _early_stop(run_folder: Path) -> dict[str, str]:
    path = Path(run_folder) / "config.yaml"
    if not path.is_file():
        return {}
    stop = read_tree(path).get("early_stop")
    return stop if isinstance(stop, dict) else {}
