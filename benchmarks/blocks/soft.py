"""Figures of soft actor-critic beside Stable-Baselines3's."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, number, span, table

TITLES = {"ours": "this project", "stable_baselines3": "Stable-Baselines3"}


def sac(files: Any) -> str:
    """Returns on Pendulum on the way and at the end, and CPU time a step, measured in turn."""
    results, rows = files.read("sac.json"), []
    steps = results["steps"]
    for name, title in TITLES.items():
        curves = [row["curve"] for row in results["learn"][name].values()]
        middle = [value for curve in curves for step, value in curve if step == steps // 5 * 3]
        ends = [curve[-1][1] for curve in curves]
        rows.append([title, each(middle), each(ends), span(results["speed"][name], 1)])
    head = ["SAC", f"return after {steps // 5 * 3:,} steps, each seed", f"after {steps:,} steps", "CPU time a step (ms), in turn"]
    ratio = f"{number(statistics.median(results['ratios']), 2)} ({span(results['ratios'], 2)})"
    return table(head, rows) + f"\n\nA step of Stable-Baselines3 takes {ratio} times as long, the median of {len(results['ratios'])} turns."


BLOCKS = (sac,)
