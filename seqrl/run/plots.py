"""Learning curves as pictures: one panel a figure, one colour a group of seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.run.log import read_metrics
from seqrl.run.registry import nearest
from seqrl.run.statistics import Floats, bootstrap_interval, interquartile_mean

# Okabe and Ito's colours, which colour-blind readers can tell apart; the line styles help in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
MAX_COLUMNS, MAX_PANELS = 4, 16
# Of an update's figures those that say most about how it goes, beside its losses; and what comes before all of them.
RUN_KEYS, FIRST_RUN_KEY = ("reward/mean", "policy/entropy", "optimiser/grad_norm"), "episode/return_mean"
AXES = {
    "step": "trainer updates",
    "progress/num_samples": "rows sampled",
    "progress/num_actions": "actions sampled",
    "progress/num_env_steps": "environment steps",
    "time/elapsed_s": "time, evaluations included (s)",
    "time/train_s": "time in sampling, reward and update (s)",
}


def learning_curves(
    run_folders: Sequence[Path], metrics: Sequence[str], path: Path, *, axes: Sequence[str] = ("step",), title: str = ""
) -> Path:
    """Draw figures against updates, samples or time.

    Runs whose names differ in `_seedN` alone share a colour: a thin line a run, a thick one for their interquartile mean
    and a band for its bootstrap 95% interval.

    Args:
        run_folders: at least one.
        metrics: logged keys, for instance dev/cider_d; one row of panels each, or one panel each where there is one axis.
        path: the PNG, replaced at once.
        axes: what to draw against, one column of panels each; see `AXES`.
        title: above all panels.

    Returns:
        the path.

    Raises:
        ValueError: when a run never logged one of the keys.
        FileNotFoundError: when a folder is no run's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_columns = len(axes) if len(axes) > 1 else min(MAX_COLUMNS, len(metrics))
    num_rows = -(-len(metrics) * len(axes) // num_columns)
    width, height = (5.6, 3.4) if num_columns <= 2 else (3.6, 2.5)
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    groups = group_by_seed(run_folders)
    for panel, (metric, axis) in zip(panels, itertools.product(metrics, axes), strict=False):
        for index, (name, folders) in enumerate(groups.items()):
            curves = [read_curve(folder, metric, axis) for folder in folders]
            _draw_group(panel, name, curves, COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS) % len(STYLES)])
        panel.set_xlabel(AXES.get(axis, axis))
        panel.set_ylabel(metric)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(metrics) * len(axes) :]:
        panel.set_visible(False)
    if len(run_folders) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        # Beside the curves it would hide some.
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, int(width * num_columns // 3)), frameon=False)
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    canvas.print_png(str(partial))
    return partial.replace(path)


def run_curves(run_folder: Path) -> Path:
    """Draw a run's dev figures, and how its training went, into `figures/learning_curves.png`; give the path."""
    rows = read_metrics(run_folder)
    keys = list(dict.fromkeys(key for row in rows for key in row if row[key] is not None))
    dev = [key for key in keys if key.startswith("dev/") and "/best_" not in key]
    training = [key for key in keys if key in RUN_KEYS or key.startswith(("loss/", "train/"))]
    if not training:  # those of a trainer that gives its figures other names
        training = [key for key in keys if key != "step" and not key.startswith(("dev/", "progress/", "time/", "episode/"))]
    training = [FIRST_RUN_KEY] * (FIRST_RUN_KEY in keys) + training
    shown = [*dev[: MAX_PANELS - min(4, len(training))], *training[:4]]
    return learning_curves([run_folder], shown, run_folder / "figures" / "learning_curves.png", title=run_folder.resolve().name)


def group_by_seed(run_folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Group run folders by their name without `_seedN`, in the order in which they come."""
    groups: dict[str, list[Path]] = {}
    for folder in run_folders:
        groups.setdefault(re.sub(r"_seed\d+$", "", Path(folder).resolve().name), []).append(Path(folder))
    return groups


def read_curve(run_folder: Path, metric: str, axis: str = "step") -> tuple[Floats, Floats]:
    """Read one figure of a run against another.

    Args:
        run_folder: of the run.
        metric: logged key of the values.
        axis: logged key of the places, or step.

    Raises:
        ValueError: when the run never logged them on the same line, naming the nearest key.
    """
    rows = read_metrics(run_folder)
    points = [(row[axis], row[metric]) for row in rows if row.get(metric) is not None and row.get(axis) is not None]
    if not points:
        keys = {key for row in rows for key in row if key != "step"}
        absent = metric if metric not in keys else axis
        raise ValueError(f"{run_folder}: logged no {absent!r}; {nearest(absent, keys)}")
    places, values = np.asarray(points, dtype=np.float64).T
    return places, values


def _draw_group(panel: Any, name: str, curves: Sequence[tuple[Floats, Floats]], colour: str, style: str) -> None:
    if len(curves) == 1:
        panel.plot(*curves[0], color=colour, linestyle=style, label=name)
        return
    for places, values in curves:
        panel.plot(places, values, color=colour, linestyle=style, linewidth=0.6, alpha=0.5)
    places = common_places([places for places, _ in curves])
    values = np.stack([np.interp(places, *curve) for curve in curves])
    low, high = bootstrap_interval(values, generator=np.random.default_rng(0))
    panel.plot(
        places, interquartile_mean(values, axis=0), color=colour, linestyle=style, linewidth=2, label=f"{name} ({len(curves)} seeds)"
    )
    panel.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def common_places(places: Sequence[Floats], num_places: int = 100) -> Floats:
    """Give places within the range that all curves cover: the curves' own where they agree, else an even grid."""
    if all(len(other) == len(places[0]) and np.array_equal(other, places[0]) for other in places):
        return places[0]
    start, end = max(other[0] for other in places), min(other[-1] for other in places)
    return np.linspace(start, max(start, end), num_places)
