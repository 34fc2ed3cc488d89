"""Figures of sub-pixel neural tracking."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from blocks.text import each, mean, number, span, table

TITLES = {"tracking_ppo": "PPO", "tracking_reinforce": "REINFORCE, the critic as its baseline"}


def row(title: str, tests: Sequence[dict[str, float]], *more: str) -> list[str]:
    """Put an error and a coverage for each test into words; their means first where there are several."""
    cells = []
    for key, unit, digits in (("error_px", 1, 2), ("coverage", 100, 1)):
        values = [unit * test[key] for test in tests]
        cells += [mean(values, digits), each(values, digits) if len(values) > 1 else ""]
    return [title, *cells, mean([test["length"] for test in tests]), *(more or ("", ""))]


def tracking(files: Any) -> str:
    """Mean error and coverage on test images: the ridge follower, and each way of training with its seeds."""
    ridge = files.read("tracking.json", "ridge")
    follower = f"greedy ridge follower, rays of {number(ridge['ray_px'])} pixels (chosen on dev)"
    rows = [row(follower, [ridge["test"]])]
    for title, words in TITLES.items():
        records = files.read("tracking.json", "runs").get(title)
        if not records:
            continue
        steps = statistics.fmean(record["env_steps"] for record in records.values())
        minutes = span([record["processor_s"] / 60 for record in records.values()], 1)
        tests = [record["test"] for record in records.values()]
        rows.append(row(f"{words}, seeds {', '.join(records)}", tests, f"{number(steps / 1e6, 2)} million", minutes))
    rows.append(row("without other axons, which none was trained on: the ridge follower", [ridge["without_others"]]))
    for title, records in files.read("tracking.json", "alone").items():
        rows.append(row(f"without other axons: {TITLES[title].partition(',')[0]}", [record["test"] for record in records.values()]))
    head = ["", "mean error (pixels)", "each seed", "coverage (%)", "each seed", "steps an axon", "steps of training", "CPU time (min)"]
    return table(head, rows)


BLOCKS = (tracking,)
