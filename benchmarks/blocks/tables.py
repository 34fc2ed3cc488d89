"""Figures of tables: exact returns, and the cliff of Sutton and Barto."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table


def exact_tables(files: Any) -> str:
    """Exact returns of greedy policies beside the best possible one."""
    by_config: dict[str, list[dict[str, Any]]] = {}
    for record in files.read("tables.json")["results"]:
        by_config.setdefault(record["config"], []).append(record)
    rows = []
    for name, records in by_config.items():
        digits = 0 if float(records[0]["best"]).is_integer() else 3
        last = [record["returns"][-1] for record in records]
        rows.append(
            [f"`{name}`", number(records[0]["best"], digits), each(last, digits), span([record["seconds"] for record in records], 1)]
        )
    seeds = ", ".join(str(record["seed"]) for record in next(iter(by_config.values())))
    return table(["configuration", "the best possible", f"greedy policy at the end, seeds {seeds}", "CPU time (s)"], rows)


def cliff(files: Any) -> str:
    """Mean return of blocks of episodes while learning, and of the greedy policy afterwards."""
    results = files.read("cliff_walking.json")["results"]
    rules = {"sarsa": "SARSA", "q_learning": "Q-learning", "expected_sarsa": "expected SARSA"}
    blocks = len(results["sarsa"]["mean"])
    rows = [
        [
            f"{block * 50 + 1}-{block * 50 + 50}",
            *(f"{number(results[rule]['mean'][block], 1)} ± {number(results[rule]['error'][block], 1)}" for rule in rules),
        ]
        for block in range(blocks)
    ]
    rows.append(["greedy afterwards", *(each(results[rule]["greedy"]) for rule in rules)])
    return table(["episodes", *rules.values()], rows)


BLOCKS = (exact_tables, cliff)
