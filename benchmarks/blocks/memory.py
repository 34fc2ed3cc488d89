"""Figures of heads over tapes."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table

TITLES = {
    "tapes_copy": "copy, an LSTM",
    "tapes_reverse": "reverse, no memory but the last step",
    "tapes_reverse_end": "then without a cost of mistakes",
}


def memory_tapes(files: Any) -> str:
    """Errors on test at twice the length of training, a seed each."""
    rows = []
    for name, entry in files.read("memory.json")["configs"].items():
        records = list(entry["seeds"].values())
        error, solved = ([record["test"][figure] for record in records] for figure in ("symbol_error", "solved"))
        steps = number(max(record["curve"]["env_steps"][-1] for record in records) / 1000)
        minutes = span([record["processor_s"] for record in records])
        rows.append([f"`{name}`: {TITLES[name]}", each(error, 3), each(solved, 3), f"{steps},000", minutes])
    head = [
        "configuration",
        "symbol error, 20 symbols, each seed",
        "answers right as a whole",
        "environment steps, at most",
        "CPU time (s)",
    ]
    return table(head, rows)


BLOCKS = (memory_tapes,)
