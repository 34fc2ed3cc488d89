"""Draw reward against error rate, learning curves, and movie booking beside the published curve.

    python benchmarks/dialogue_figure.py

Reads benchmarks/results/dialogue_policy_{restaurants,rates,movies}.json; writes docs/figures/dialogue_policy.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from competitors import run_benchmark
from provenance import RESULTS, ROOT
from small_png import write_small_png

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {"hand-crafted": "#444444", "ppo": "#0072B2", "a2c": "#009E73", "dqn": "#D55E00", "reinforce": "#CC79A7"}
SHOWN_RATE, SMOOTHED, EPOCH, WARM_START = 0.15, 11, 100, 120


def main() -> None:
    """Draw the three panels."""
    from matplotlib.figure import Figure

    names = ("restaurants", "rates", "movies")
    restaurants, rates, movies = (json.loads((RESULTS / f"dialogue_policy_{name}.json").read_text("utf-8")) for name in names)
    figure = Figure(figsize=(12.5, 3.9), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_rates(panels[0], restaurants["rows"] + rates["rows"])
    _draw_learning(panels[1], restaurants["rows"])
    _draw_movies(panels[2], movies)
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.legend(fontsize=8)
    path = ROOT / "docs" / "figures" / "dialogue_policy.png"
    write_small_png(figure, path)
    print(path)


def _draw_rates(panel: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the mean reward against the error rate; bars are the mean 95% interval of a seed."""
    for policy in dict.fromkeys(row["policy"] for row in rows):
        of = [row for row in rows if row["policy"] == policy]
        rates = sorted({row["error_rate"] for row in of})
        means, halves = ([np.mean([row["reward"][k] for row in of if row["error_rate"] == rate]) for rate in rates] for k in (0, 1))
        style = "--" if policy == "hand-crafted" else "-"
        panel.errorbar([100 * rate for rate in rates], means, halves, color=COLOURS[policy], linestyle=style, label=policy, capsize=2)
    panel.set_xlabel("user turns misheard (%)")
    panel.set_ylabel("reward, 1,000 test dialogs")


def _draw_learning(panel: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the mean reward on dev against the dialogs trained on; shaded from the least to the largest seed."""
    here = [row for row in rows if row["error_rate"] == SHOWN_RATE]
    for policy in dict.fromkeys(row["policy"] for row in here if "curve" in row):
        curves = [row["curve"] for row in here if row["policy"] == policy]
        count = min(map(len, curves))
        _shade(panel, [curve[1:count] for curve in curves], COLOURS[policy], policy)
    panel.axhline(next(row["reward"][0] for row in here if row["policy"] == "hand-crafted"), color="#444444", linestyle="--")
    panel.set(xlabel=f"dialogs, {SHOWN_RATE:.0%} misheard", ylabel="reward on dev", xscale="log", ylim=(8, None))


def _draw_movies(panel: Any, found: dict[str, Any]) -> None:
    """Draw success on dev beside the published one, averaged over some epochs, and the share of the bound to be reached."""
    for trainer in dict.fromkeys(row["trainer"] for row in found["rows"]):
        curves = [row["curve"] for row in found["rows"] if row["trainer"] == trainer]
        _shade(panel, curves, COLOURS[trainer], trainer)
    published = np.convolve(found["published"]["success_rate"], np.ones(SMOOTHED) / SMOOTHED, "valid")
    dialogs = WARM_START + EPOCH * (np.arange(len(published)) + SMOOTHED // 2)
    furthest = max(row["curve"][-1][0] for row in found["rows"])
    panel.plot(dialogs[dialogs <= furthest], published[dialogs <= furthest], color="#888888", label="published DQN")
    bound = found["goals"][0] / found["goals"][1]
    panel.axhline(0.95 * bound, color="#444444", linewidth=0.8, linestyle=":", label="0.95 of the bound")
    panel.set(xlabel="dialogs, movie booking", ylabel="success on dev")


def _shade(panel: Any, curves: Sequence[Sequence[Sequence[float]]], colour: str, label: str) -> None:
    points = np.array(curves)
    dialogs, values = points[..., 0].mean(axis=0), points[..., 1]
    panel.plot(dialogs, values.mean(axis=0), color=colour, label=label)
    panel.fill_between(dialogs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
