"""Figures of models of the world: steps that each kind of trainer needs, and Dyna-Q's in the robot's room."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, rounded, table

SOLVED = 475.0
LADDER = {
    "cartpole_model_based": "model of the world, planned by",
    "cartpole_dqn_rainbow": "Q-learning from a replay (Rainbow-like DQN)",
    "cartpole_dqn": "Q-learning from a replay (DQN)",
    "cartpole_ppo": "actor-critic (PPO)",
    "cartpole_a2c": "actor-critic (A2C)",
    "cartpole_reinforce": "policy gradient (REINFORCE)",
    "cartpole_cem": "cross-entropy method",
    "cartpole_es": "evolution strategies",
}


def first_steps(curve: dict[str, list[float]]) -> str:
    """Give the steps at the first evaluation that reaches the score."""
    found = (steps for steps, value in zip(curve["env_steps"], curve["dev/return_mean"], strict=True) if value >= SOLVED)
    return rounded(next(found), 2) if any(value >= SOLVED for value in curve["dev/return_mean"]) else "never"


def sample_efficiency(files: Any) -> str:
    """Steps of CartPole until the greedy return reaches 475."""
    rows = []
    for name, title in LADDER.items():
        records = list(files.read("configs.json", "configs", name)["seeds"].values())
        steps = ", ".join(first_steps(record["curve"]) for record in records)
        rows.append([title, f"`{name}`", steps, each([record["test"]["return_mean"] for record in records])])
    return table(["trainer", "config", "steps until a return of 475, seeds 0, 1, 2", "return at the end"], rows)


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
