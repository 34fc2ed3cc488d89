"""Figures of exploration: what is found with a bonus for what is new and without one."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table

WORLDS = {"chain": "chain of 50", "key_door": "key and door", "mountain_car": "car in a valley"}
AGENTS = {
    ("q_counts", "none"): "Q-learning that plans, ε-greedy",
    ("q_counts", "bonus"): "... with a bonus of counts",
    ("ppo_distillation", "none"): "PPO with an entropy bonus",
    ("ppo_distillation", "bonus"): "... with random network distillation",
    ("ppo_counts", "none"): "PPO with an entropy bonus",
    ("ppo_counts", "bonus"): "... with a bonus of counts",
    ("ppo_pseudo_counts", "none"): "PPO with an entropy bonus",
    ("ppo_pseudo_counts", "bonus"): "... with a bonus of pseudo-counts",
}


def exploration(files: Any) -> str:
    """Return at the end, states seen and steps until the best return, a seed each."""
    results = files.read("exploration.json")
    rows = []
    for name, kinds in results["runs"].items():
        world = next(world for world in WORLDS if name.startswith(world))
        for kind, records in kinds.items():
            if kind == "provenance":
                continue
            after = ", ".join("never" if each_["best_after"] is None else number(each_["best_after"]) for each_ in records)
            small = max(abs(record["return"]) for record in records) < 1
            returns = each([record["return"] for record in records], 3 if small else 0)
            of = f"{results['states'][world]}" if world in results["states"] else f"{results['cells']} cells"
            states = each([record["states"] for record in records]) + f" of {of}"
            agent = AGENTS[name.removeprefix(f"{world}_"), kind]
            steps = number(records[0]["curve"][-1][0])
            rows.append([WORLDS[world], agent, returns, states, after, steps, span([record["seconds"] for record in records])])
    until = f"steps until the best return, of the car until {results['good']['mountain_car']:.0f} or more for good"
    head = ["world", "agent", "greedy return at the end", "states seen", until, "steps", "CPU time (s)"]
    return table(head, rows)


BLOCKS = (exploration,)
