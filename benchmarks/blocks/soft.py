"""Figures of soft actor-critic beside Stable-Baselines3's."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, number, span, table

TITLES = {"ours": "this project", "stable_baselines3": "Stable-Baselines3"}


def sac(files: Any) -> str:
    """CPU time a step, measured in turn, and the returns on Pendulum where all seeds were run."""
    results, rows = files.read("sac.json"), []
    steps, ratios = results["steps"], results["ratios"]
    measured = all(len(results["learn"].get(name, {})) >= 3 for name in TITLES)
    for name, title in TITLES.items():
        ends = [row["curve"][-1][1] for row in results["learn"].get(name, {}).values()]
        rows.append([title, span(results["speed"][name], 1), *([each(ends)] if measured else [])])
    head = ["SAC", "CPU time a step (ms), in turn", *([f"return after {steps:,} steps, each seed"] if measured else [])]
    ratio = f"{number(statistics.median(ratios), 2)} ({span(ratios, 2)})"
    return table(head, rows) + f"\n\nA step of Stable-Baselines3 takes {ratio} times as long, the median of {len(ratios)} turns."


BLOCKS = (sac,)
