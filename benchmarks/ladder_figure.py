"""Draw returns against steps of the world, for each kind of trainer on CartPole.

    python benchmarks/ladder_figure.py

Reads benchmarks/results/configs.json; writes docs/figures/sample_efficiency.png.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from blocks.world import LADDER
from competitors import run_benchmark
from provenance import RESULTS, ROOT

COLOURS = ("#000000", "#D55E00", "#009E73", "#0072B2", "#56B4E9", "#E69F00", "#CC79A7", "#999999")


def main() -> None:
    """Draw one panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    configs = json.loads((RESULTS / "configs.json").read_text("utf-8"))["configs"]
    figure = Figure(figsize=(8.5, 3.9), layout="constrained")
    canvas, panel = FigureCanvasAgg(figure), figure.subplots()
    for (name, title), colour in zip(LADDER.items(), COLOURS, strict=False):
        curves = [record["curve"] for record in configs[name]["seeds"].values()]
        length = min(len(curve["env_steps"]) for curve in curves)
        steps, returns = (np.array([curve[key][1:length] for curve in curves]) for key in ("env_steps", "dev/return_mean"))
        panel.plot(steps.mean(axis=0), returns.mean(axis=0), color=colour, label=title, marker=".")
        panel.fill_between(steps.mean(axis=0), returns.min(axis=0), returns.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    panel.set_xscale("log")
    panel.set_xlabel("steps of CartPole-v1")
    panel.set_ylabel("return of greedy actions")
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = ROOT / "docs" / "figures" / "sample_efficiency.png"
    figure.set_dpi(90)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize(96).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
