"""Figures of heads over tapes."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table

TITLES = {
    "tapes_copy": "copy, an LSTM; symbols are actions, too",
    "tapes_reverse": "reverse, no memory but the last step",
    "tapes_reverse_memory": "reverse, a head that moves forward only, and a memory tape",
    "tapes_repeat_copy": "copy once or twice, an LSTM",
    "tapes_addition": "addition in base 3, an LSTM",
}
LENGTHS = {
    "tapes_copy": "1 to 10, 20 symbols",
    "tapes_reverse": "5 to 10, 20 symbols",
    "tapes_reverse_memory": "5 to 10, 20 symbols",
    "tapes_repeat_copy": "3 to 8, 16 symbols",
    "tapes_addition": "3 to 6, 12 digits",
}


def memory_tapes(files: Any) -> str:
    """Errors on test at twice the length of training, a seed each."""
    rows = []
    configs = files.read("memory.json")["configs"] | files.read("memory_tape.json")["configs"]
    for name, entry in configs.items():
        records = list(entry["seeds"].values())
        error, solved = ([record["test"][figure] for record in records] for figure in ("symbol_error", "solved"))
        steps = number(max(record["curve"]["env_steps"][-1] for record in records) / 1000)
        minutes = span([record["processor_s"] for record in records])
        rows.append([f"`{name}`: {TITLES[name]}", LENGTHS[name], each(error, 3), each(solved, 3), f"{steps},000", minutes])
    head = [
        "configuration",
        "learned from, tested on",
        "symbol error, each seed",
        "answers right as a whole",
        "environment steps, at most",
        "CPU time (s)",
    ]
    return table(head, rows)


NETWORKS = {
    "ntm_copy": ("neural Turing machine", "copy, up to 10 symbols", "20 symbols"),
    "lstm_copy": ("LSTM", "copy, up to 10 symbols", "20 symbols"),
    "act_addition": ("LSTM with adaptive computation time", "addition, up to 4 digits", "4 digits"),
    "lstm_addition": ("LSTM", "addition, up to 4 digits", "4 digits"),
}


def memory_networks(files: Any) -> str:
    """Errors on test of networks that learned by cross-entropy, a seed each."""
    rows = []
    for name, entry in files.read("memory_networks.json")["configs"].items():
        records = list(entry["seeds"].values())
        error, solved = ([record["test"][figure] for record in records] for figure in ("symbol_error", "solved"))
        thoughts = [record["test"]["thoughts"] for record in records if "thoughts" in record["test"]]
        cells = [
            each(error, 3),
            each(solved, 3),
            each(thoughts, 2) if thoughts else "",
            span([record["processor_s"] for record in records]),
        ]
        rows.append([*NETWORKS[name], *cells])
    head = ["network", "learned from", "tested on", "symbol error, each seed", "right as a whole", "thoughts a step", "CPU time (s)"]
    return table(head, rows)


BLOCKS = (memory_tapes, memory_networks)
