"""Draw how many steps of Pendulum each kind of trainer needs, the ladder of sample efficiency.

    python benchmarks/ladder_figure.py

Reads benchmarks/results/configs.json, whose curves `python benchmarks/configs.py NAME ...` keeps; writes docs/figures/ladder.png.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from blocks.world import LADDER, SOLVED
from competitors import run_benchmark
from provenance import RESULTS, ROOT
from small_png import write_small_png

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#444444")


def main() -> None:
    """Draw a line for each trainer, the mean of its seeds; shaded from the least to the largest one."""
    from matplotlib.figure import Figure

    found = json.loads((RESULTS / "configs.json").read_text("utf-8"))["configs"]
    figure = Figure(figsize=(8.0, 3.9), layout="constrained")
    panel = figure.subplots()
    for (name, title), colour in zip(LADDER.items(), COLOURS, strict=False):
        _draw(panel, [record["curve"] for record in found[name]["seeds"].values()], title, colour)
    panel.axhline(SOLVED, color="#888888", linewidth=0.8, linestyle=":")
    panel.set(xscale="log", xlabel="steps of Pendulum-v1", ylabel="greedy return on dev")
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8)
    path = ROOT / "docs" / "figures" / "ladder.png"
    write_small_png(figure, path)
    print(path)


def _draw(panel: Any, curves: list[dict[str, list[float]]], title: str, colour: str) -> None:
    """Draw the curves of one trainer; the evaluation before the first step has no place on a logarithmic axis."""
    steps = np.array([curve["env_steps"][1:] for curve in curves]).mean(axis=0)
    values = np.array([curve["dev/return_mean"][1:] for curve in curves])
    panel.plot(steps, values.mean(axis=0), color=colour, marker=".", markersize=4, label=title)
    panel.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
