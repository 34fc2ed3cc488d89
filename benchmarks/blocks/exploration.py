"""Figures of exploration: what is found with a bonus for what is new and without one."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table

WORLDS = {"chain": "chain of 50", "key_door": "key and door"}
AGENTS = {
    ("q_counts", "none"): "Q-learning that plans, ε-greedy",
    ("q_counts", "bonus"): "... with a bonus of counts",
    ("ppo_distillation", "none"): "PPO with an entropy bonus",
    ("ppo_distillation", "bonus"): "... with random network distillation",
    ("ppo_counts", "none"): "PPO with an entropy bonus",
    ("ppo_counts", "bonus"): "... with a bonus of counts",
}


def exploration(files: Any) -> str:
    """Return at the end, states seen and steps until the best return, a seed each."""
    results = files.read("exploration.json")
    rows = []
    for name, kinds in results["runs"].items():
        world = next(world for world in WORLDS if name.startswith(world))
        for kind, records in kinds.items():
            after = ", ".join("never" if each_["best_after"] is None else number(each_["best_after"]) for each_ in records)
            returns = each([record["return"] for record in records], 3 if max(record["return"] for record in records) < 1 else 0)
            states = each([record["states"] for record in records]) + f" of {results['states'][world]}"
            agent = AGENTS[name.removeprefix(f"{world}_"), kind]
            steps = number(records[0]["curve"][-1][0])
            rows.append([WORLDS[world], agent, returns, states, after, steps, span([record["seconds"] for record in records])])
    head = ["world", "agent", "greedy return at the end", "states seen", "steps until the best return", "steps", "CPU time (s)"]
    return table(head, rows)


BLOCKS = (exploration,)
