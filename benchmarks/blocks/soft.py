"""Figures of soft actor-critic beside Stable-Baselines3's."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, number, rounded, span, table

TITLES = {"ours": "this project", "stable_baselines3": "Stable-Baselines3"}
SOLVED = 475


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


def sac_halfcheetah(files: Any) -> str:
    """CPU time a step of the runs that learn, and the returns on HalfCheetah at three evaluations."""
    rows, learned = [], files.read("sac_halfcheetah.json")["learn"]
    runs = {name: list(learned[name].values()) for name in TITLES}
    places = (-5, -3, -1)
    for name, title in TITLES.items():
        ends = [each([run["curve"][place][1] for run in runs[name]]) for place in places]
        rows.append([title, span([run["ms_per_step"] for run in runs[name]], 1), *ends])
    steps = [f"return after {runs['ours'][0]['curve'][place][0]:,} steps, each seed" for place in places]
    ratios = [peer["ms_per_step"] / ours["ms_per_step"] for ours, peer in zip(*runs.values(), strict=True)]
    ratio = f"{number(statistics.median(ratios), 2)} ({span(ratios, 2)})"
    shown = table(["SAC", "CPU time a step (ms), seed by seed", *steps], rows)
    return f"{shown}\n\nA step of Stable-Baselines3 takes {ratio} times as long, the median of {len(ratios)} seeds."


def sac_cartpole(files: Any) -> str:
    """Greedy and drawn returns of SAC that chooses, at the end, and from which evaluation on it holds its threshold."""
    rows = []
    for seed, record in files.read("sac_cartpole.json", "configs", "cartpole_sac")["seeds"].items():
        steps, values = record["curve"]["env_steps"], record["curve"]["dev/return_mean"]
        held = next((place for place in range(len(values)) if min(values[place:]) >= SOLVED), None)
        since = "not held" if held is None else rounded(steps[held], 2)
        returns = [number(record[key]["return_mean"], 1) for key in ("test", "sampled")]
        rows.append([seed, *returns, number(record["test"]["return_min"]), since, number(record["processor_s"])])
    head = ["seed", "greedy", "drawn", "least of the greedy episodes", f"{SOLVED} or more on dev from so many steps on", "CPU time (s)"]
    return table(head, rows)


BLOCKS = (sac, sac_halfcheetah, sac_cartpole)
