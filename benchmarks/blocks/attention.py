"""Figures of recurrent attention."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import each, number, span, table

# Mnih et al. 2014, tables 1 and 2: NIPS proceedings and arXiv v1.
PAPER = {"mnist_6x8": "1.12 / 1.29", "translated_8x12": "1.20 / 1.84", "cluttered_8x12": "4.04 / 5.23", "cluttered100_8x12": "8.11 / 10.83"}
TITLES = {
    "mnist_6x8": "MNIST 28x28, six glimpses of 8x8",
    "translated_8x12": "translated on 60x60",
    "cluttered_8x12": "the same among clutter",
    "cluttered100_8x12": "on 100x100 among eight pieces of clutter",
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


STUDIES = "attention_studies.json"
# Mnih et al. 2014, table 1a as printed in the NIPS proceedings.
PAPER_BY_GLIMPSES = {"2": 3.79, "3": 1.51, "4": 1.54, "5": 1.34, "6": 1.12, "7": 1.07}


def _seeds(runs: Any) -> str:
    return ", ".join(runs)


def attention_glimpses(files: Any) -> str:
    """Errors by number of glimpses, beside the paper's."""
    study = files.read(STUDIES, "glimpses")
    rows = []
    for line, runs in study["lines"].items():
        errors = [run["test"]["error_percent"] for run in runs.values()]
        rows.append([line, number(PAPER_BY_GLIMPSES[line], 2), each(errors, 2), number(statistics.fmean(errors), 2)])
    updates, seeds = study["updates"], _seeds(next(iter(study["lines"].values())))
    head = ["glimpses of 8x8, one scale", "paper", f"ours after {updates:,} updates, seeds {seeds}", "mean"]
    return table(head, rows)


def attention_sizes(files: Any) -> str:
    """Errors on digits of other sizes, with and without augmentation."""
    study = files.read(STUDIES, "sizes")
    rows = []
    for line, runs in study["lines"].items():
        sizes = next(iter(runs.values()))["sizes"]
        columns = [[run["sizes"][size]["error_percent"] for run in runs.values()] for size in sizes]
        rows.append([f"{line} augmentation", *(f"{number(statistics.fmean(column), 1)} ({each(column, 1)})" for column in columns)])
    head = [f"error in %, {study['updates']:,} updates on digits of 28 pixels", *(f"test: {size} pixels" for size in sizes)]
    return f"{table(head, rows)}\n\nMeans, and seeds {_seeds(runs)}."


def active_perception(files: Any) -> str:
    """What a policy of ap-gym's LightDark knows and earns."""
    rows = []
    studies = [files.read(STUDIES, f"perception{part}")["lines"] for part in ("", "_reinforce", "_still")]
    for line, runs in (studies[0] | studies[1] | studies[2]).items():
        columns = [
            [run["test"][key] for run in runs.values()] for key in ("prediction_loss", "last_prediction_loss", "return_mean", "length")
        ]
        steps = number(max(run["env_steps"] for run in runs.values()) / 1000)
        shown = [each(column, digits) for column, digits in zip(columns, (3, 3, 1, 1), strict=True)]
        rows.append([line, *shown, f"{steps},000", span([run["processor_s"] for run in runs.values()])])
    head = [
        "",
        "mean loss of an episode's predictions",
        "of the last one",
        "return (at most 50)",
        "steps an episode",
        "environment steps, at most",
        "CPU time (s)",
    ]
    return f"{table(head, rows)}\n\nSeeds {_seeds(runs)}, each 200 test episodes."


BLOCKS = (attention_errors, attention_rates, attention_glimpses, attention_sizes, active_perception)
