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


def league_connect4(files: Any) -> str:
    """What a best response wins against the main agent at Connect-4, and what that wins against players by rules."""
    results, rows = files.read("league_connect4.json"), []
    for method, name in METHODS.items():
        records = list(results["methods"][method].values())
        answered = [record["best_response"]["chance"] for record in records]
        by_rules = [each([record[key] for record in records], 2) for key in ("chance_anything", "chance_tactician")]
        rows.append([name, each(answered, 2), *by_rules, span([record["processor_s"] for record in records])])
    begin = list(results["supervised"].values())
    rows.append(
        ["what was imitated", "", *(each([record[key] for record in begin], 2) for key in ("chance_anything", "chance_tactician")), ""]
    )
    head = ["method", "a best response wins", "it wins against any moves", "against the tactician", "CPU time (s)"]
    games, answers = records[0]["num_samples"], records[0]["best_response"]["games"]
    return table(head, rows) + f"\n\n{number(games)} games each; a best response learns for {number(answers)} more. A number a seed."


BLOCKS = (league, league_connect4)
