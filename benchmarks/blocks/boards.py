"""Figures of AlphaZero on board games."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blocks.text import each, number, span, table

TITLES = {"tic_tac_toe_alpha_zero": "tic-tac-toe", "connect4_alpha_zero": "Connect-4"}
WAYS = {"search": "with its search", "network": "the network alone"}


def games(files: Any, name: str) -> list[list[str]]:
    """Put the runs of a configuration into rows: what chance does, then each way of playing."""
    found = files.read("boards.json", name)
    records: Sequence[dict[str, Any]] = list(found["runs"].values())
    chance = f"{TITLES[name]}: a move at random"
    rows = [[chance, "", "", number(100 * found["chance"]["kept"], 1), number(found["chance"]["positions"]), "", ""]]
    if plain := found["chance"].get("plain_search"):
        title = f"{TITLES[name]}: a search by {plain['simulations']} random games"
        rows.append([title, "", "", number(100 * plain["kept"], 1), "", "", ""])
    for way, words in WAYS.items():
        played = [record[way] for record in records]
        rows.append(
            [
                f"{TITLES[name]}: {words}",
                each([100 * one["lost"] for one in played], 1),
                each([100 * one["score"] for one in played], 1),
                each([100 * one["kept"] for one in played], 1),
                "",
                number(records[0]["games"]) if way == "search" else "",
                span([record["processor_s"] for record in records]) if way == "search" else "",
            ]
        )
    return rows


def board_games(files: Any) -> str:
    """What is lost, scored and kept on each game, a seed each."""
    measured = [name for name in TITLES if name in files.peek("boards.json")]
    rows = [row for name in measured for row in games(files, name)]
    head = ["", "lost (%)", "score (%)", "moves that keep the value (%)", "positions", "games of self-play", "CPU time (s)"]
    return table(head, rows)


BLOCKS = (board_games,)
