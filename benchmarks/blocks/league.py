"""Figures of self-play leagues."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, number, span, table

GAMES = {"rps": "rock-paper-scissors", "blotto": "Blotto"}
METHODS = {"naive": "naive self-play", "league": "league", "league_supervised": "league, supervised start"}


def league(files: Any) -> str:
    """How exploitable the newest main agent is over the second half of training, and in the end all that were kept."""
    results, rows = files.read("league.json"), []
    for game, title in GAMES.items():
        methods = results["games"][game]["methods"]
        for bonus in methods["league"]:
            for method, name in METHODS.items():
                records = list(methods[method][bonus].values())
                curves = [record["exploitability"] for record in records]
                late = [statistics.fmean(curve[len(curve) // 2 :]) for curve in curves]
                kept = [record["kept"]["all"] for record in records]
                even, mixed = ([found[key] for found in kept] for key in ("even_mix", "equilibrium"))
                seconds = span([record["processor_s"] for record in records])
                rows.append([title, bonus, name, each(late, 2), each(even, 2), each(mixed, 2), seconds])
    head = [
        "game",
        "entropy bonus",
        "method",
        "newest main agent, mean over the second half",
        "even mix of all kept",
        "equilibrium of all kept",
        "CPU time (s)",
    ]
    starts = {title: list(results["games"][game]["supervised"].values()) for game, title in GAMES.items()}
    games = number(max(record["games"][-1] for record in records))
    said = " and ".join(f"{each(values, 2)} at {title}" for title, values in starts.items())
    return table(head, rows) + f"\n\n{games} games each, a number a seed. What was imitated is exploitable by {said}."


BLOCKS = (league,)
