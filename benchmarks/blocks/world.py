"""Figures of models of the world: steps that each kind of trainer needs, and Dyna-Q's in the robot's room."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, rounded, span, table

SOLVED = -250.0
LADDER = {
    "pendulum_model_based": "a model of the world, planned by",
    "pendulum_sac": "off-policy values: SAC",
    "pendulum_ppo": "actor and critic: PPO",
    "pendulum_trpo": "policy gradient: TRPO",
    "pendulum_cem": "likelihood of the best episodes: cross-entropy method",
    "pendulum_es": "nothing but returns: evolution strategies",
}


def first_steps(curve: dict[str, list[float]]) -> str:
    """Give the steps at the first evaluation that reaches the score."""
    reached = (steps for steps, value in zip(curve["env_steps"], curve["dev/return_mean"], strict=True) if value >= SOLVED)
    first = next(reached, None)
    return "not reached" if first is None else rounded(first, 2)


def sample_efficiency(files: Any) -> str:
    """Steps of Pendulum until the greedy return reaches -250, and the return at the end."""
    rows = []
    for name, title in LADDER.items():
        records = list(files.read("configs.json", "configs", name)["seeds"].values())
        steps = ", ".join(first_steps(record["curve"]) for record in records)
        ends = each([record["test"]["return_mean"] for record in records])
        rows.append([title, f"`{name}`", steps, ends, span([record["processor_s"] for record in records])])
    return table(["trainer", "config", "steps until a return of -250, each seed", "return at the end", "CPU time (s)"], rows)


def dyna(files: Any) -> str:
    """Steps of the robot's room until the greedy policy is near the best one, by the steps planned after each."""
    results = files.read("dyna.json")
    rows = []
    for planned, records in results["planning"].items():
        steps = sorted(float("inf") if record["steps"] is None else record["steps"] for record in records)
        shown = [f"{value:,.0f}" if value < float("inf") else "not reached" for value in (steps[len(steps) // 2], steps[0], steps[-1])]
        mean = sum(record["mean"] for record in records) / len(records)
        rows.append([planned, f"{shown[0]} ({shown[1]} to {shown[2]})", number(mean, 3)])
    head = ["steps planned after each", "steps until within 0.02 of the best: median (least to most)", "mean return over the run"]
    best = next(iter(results["planning"].values()))[0]["best"]
    return table(head, rows) + f"\n\n{len(records)} seeds, {results['steps']:,} steps each; the best possible return is {number(best, 3)}."


BLOCKS = (sample_efficiency, dyna)
