"""Figures of recurrent attention."""

from __future__ import annotations

from typing import Any

from blocks.text import each, number, span, table

# Mnih et al. 2014, tables 1 and 2: NIPS proceedings and arXiv v1.
PAPER = {"mnist_6x8": "1.12 / 1.29", "translated_8x12": "1.20 / 1.84", "cluttered_8x12": "4.04 / 5.23"}
TITLES = {
    "mnist_6x8": "MNIST 28x28, six glimpses of 8x8",
    "translated_8x12": "translated on 60x60",
    "cluttered_8x12": "the same among clutter",
}


def name_of(key: str) -> tuple[str, str]:
    """Take a key of configs.json apart: the configuration, and the way of looking."""
    name, *changes = key.split()
    looking = next((change.partition("=")[2] for change in changes if change.startswith("--task.looking=")), "learned")
    return name, looking


def attention_errors(files: Any) -> str:
    """Test errors, learned looking and others side by side."""
    rows = []
    for key in files.peek("configs.json")["configs"]:
        name, looking = name_of(key)
        if name not in TITLES:
            continue
        seeds = files.read("configs.json", "configs", key)["seeds"]
        records = list(seeds.values())
        columns = [[record["test"][column] for record in records] for column in _COLUMNS]
        updates = records[0]["updates"]
        minutes = [record["processor_s"] / 60 for record in records]
        shown = [each(column, 2) for column in columns]
        rows.append(
            [
                f"{TITLES[name]}, {looking} looking",
                ", ".join(seeds),
                PAPER[name] if looking == "learned" else "",
                *shown,
                records[0]["precision"].get("task.policy.precision", "fp32"),
                f"{updates:,}",
                span(minutes),
            ]
        )
    if not rows:
        return (
            "Errors beside the paper's are not measured from a clean commit yet; these do it, the second one with the fixed grid: "
            "`python benchmarks/configs.py mnist_6x8` and `python benchmarks/configs.py mnist_6x8 -- --task.looking=grid`. "
            "What was run by hand stands at the end of this page."
        )
    head = [
        "",
        "seeds",
        "paper, NIPS / arXiv v1",
        "mean path",
        "one sampled path",
        "ten paths",
        "format",
        "updates",
        "CPU time (min)",
    ]
    return table(head, rows)


_COLUMNS = ("error_percent", "error_percent_sampled", "error_percent_averaged")


def attention_rates(files: Any) -> str:
    """One epoch beside the peer, like for like and in the format that the measurement chooses."""
    results = files.read("attention.json")
    titles = {
        "ours": "this project",
        "ours_fp32": "this project",
        "peer": "peer",
        "ours_512": "this project",
        "ours_512_fp32": "this project",
        "peer_512": "peer",
    }
    rows = []
    for name in ("ours_fp32", "ours", "peer", "ours_512_fp32", "ours_512", "peer_512"):
        if name not in results["seconds_an_epoch"]:
            continue
        runs = [seed[name] for seed in results["seeds"].values()]
        times = [run[results["clock"]] for run in runs]
        batch, dtype = ("512" if "512" in name else "128"), {"float32": "fp32", "bfloat16": "bf16"}[runs[0]["dtype"]]
        peer = results["seconds_an_epoch"]["peer_512" if "512" in name else "peer"]
        ratio = "1" if name.startswith("peer") else number(peer / results["seconds_an_epoch"][name], 2)
        rows.append([f"{titles[name]}, batch {batch}, {dtype}", *(number(seconds, 2) for seconds in times), ratio])
    clock = {"wall_s": "wall-clock", "processor_s": "processor"}[results["clock"]]
    threads = results["provenance"]["threads"]
    head = [
        f"{clock} seconds an epoch, threads: {threads}",
        *(f"seed {seed}" for seed in results["seeds"]),
        "times the peer's speed, medians",
    ]
    shares = ", ".join(f"{part} {100 * share:.0f}%" for part, share in results["split"].items())
    return f"{table(head, rows)}\n\nSplit of ours, one thread: {shares}."


BLOCKS = (attention_errors, attention_rates)
