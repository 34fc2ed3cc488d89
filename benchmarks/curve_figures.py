"""Draw curves that benchmarks/results/configs.json holds: the ladder of sample efficiency on Pendulum, and Pong through its two runs.

    python benchmarks/curve_figures.py

`python benchmarks/configs.py NAME ...` keeps the curves. Writes docs/figures/ladder.png and docs/figures/pong.png.
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
# The second run begins where the first ends.
PONG = {"pong_ppo": "pong_ppo: the usual settings", "pong_ppo_end": "pong_ppo_end: bonus and learning rate fall to 0"}
PERFECT = 21


def main() -> None:
    """Draw the figures."""
    found = json.loads((RESULTS / "configs.json").read_text("utf-8"))["configs"]
    for name, draw in (("ladder", _draw_ladder), ("pong", _draw_pong)):
        figure, panel = _panel()
        draw(panel, found)
        panel.grid(alpha=0.25)
        panel.legend(fontsize=8)
        path = ROOT / "docs" / "figures" / f"{name}.png"
        write_small_png(figure, path)
        print(path)


def _panel() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.9), layout="constrained")
    return figure, figure.subplots()


def _draw_ladder(panel: Any, found: dict[str, Any]) -> None:
    """Draw a line for each trainer, the mean of its seeds; shaded from the least to the largest one."""
    for (name, title), colour in zip(LADDER.items(), COLOURS, strict=True):
        curves = [record["curve"] for record in found[name]["seeds"].values()]
        # The evaluation before the first step has no place on a logarithmic axis.
        steps = np.array([curve["env_steps"][1:] for curve in curves]).mean(axis=0)
        values = np.array([curve["dev/return_mean"][1:] for curve in curves])
        panel.plot(steps, values.mean(axis=0), color=colour, marker=".", markersize=4, label=title)
        panel.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    panel.axhline(SOLVED, color="#888888", linewidth=0.8, linestyle=":")
    panel.set(xscale="log", xlabel="steps of Pendulum-v1", ylabel="greedy return on dev")


def _draw_pong(panel: Any, found: dict[str, Any]) -> None:
    """Draw the greedy score of each run, one behind the other."""
    begin = 0.0
    for (name, title), colour in zip(PONG.items(), COLOURS, strict=False):
        (record,) = found[name]["seeds"].values()
        steps = begin + np.array(record["curve"]["env_steps"])
        panel.plot(steps / 1e6, record["curve"]["dev/return_mean"], color=colour, marker=".", label=title)
        begin = float(steps[-1])
    panel.axhline(PERFECT, color="#888888", linewidth=0.8, linestyle=":")
    panel.set(xlabel="steps of Pong (millions), four frames each", ylabel="greedy score on dev")


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
