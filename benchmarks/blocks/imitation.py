"""Figures of imitation: cloning, DAgger and GAIL from one expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blocks.text import mean_and_span, number, span, table

FILE = "imitation.json"


def _found(records: Sequence[dict[str, Any]], trainer: str, labels: int | None = None, key: str = "return") -> list[float]:
    return [record[key] for record in records if record["trainer"] == trainer and labels in (None, record["number"])]


def imitation_labels(files: Any) -> str:
    """Cloning, with and without noise, and DAgger by the number of labels."""
    plain, noisy = files.read(FILE, "cartpole"), files.read(FILE, "cartpole_noise")
    records, expert = plain["results"], plain["expert"]["return_mean"]
    rows = []
    for labels in dict.fromkeys(record["number"] for record in records if record["trainer"] == "dagger"):
        with_noise = _found(noisy["results"], "supervised", labels)
        columns = (_found(records, "supervised", labels), with_noise, _found(records, "dagger", labels))
        rows.append([number(labels), *(mean_and_span(column) if column else "-" for column in columns)])
    noise = noisy["results"][0]["noise"]
    head = ["CartPole, labels of the expert", "cloning", f"cloning, noise {noise:g}", "DAgger"]
    said = f"The expert's return is {number(expert)}, the largest possible one."
    return f"{table(head, rows)}\n\n{said} Mean of the seeds' returns over greedy episodes, lowest and highest in brackets."


def imitation_gail(files: Any) -> str:
    """GAIL beside its expert, and beside a discriminator that sees nothing."""
    rows, on_the_way = [], ""
    for world, title in (("cartpole", "CartPole"), ("hopper", "Hopper")):
        part = files.read(FILE, world)
        records, expert = part["results"], part["expert"]
        episodes = next(record["number"] for record in records if record["trainer"] == "gail")
        rows.append([title, "the expert", "", number(expert["return_mean"]), number(expert["length"]), ""])
        for trainer, name in (("gail", "GAIL"), ("blind", "the same, a blind discriminator")):
            found = _found(records, trainer)
            if not found:
                continue
            cells = [
                mean_and_span(found),
                mean_and_span(_found(records, trainer, key="length")),
                span(_found(records, trainer, key="seconds")),
            ]
            if world == "hopper":
                on_the_way = _course([record["course"] for record in records], expert["return_mean"])
            rows.append([title, name, number(episodes) if trainer == "gail" else "", *cells])
    lengths = "Mean of the seeds, lowest and highest in brackets; lengths are steps an episode."
    lengths += f" {on_the_way}"
    return f"{table(['world', 'who', 'episodes seen', 'return', 'length', 'CPU time (s)'], rows)}\n\n{lengths}"


def _course(courses: Sequence[Sequence[Sequence[float]]], expert: float) -> str:
    """Say what GAIL reached on the way, as a share of the expert's return."""
    points = []
    for seeds in [*zip(*courses, strict=True)][::-1][::5][::-1]:
        shares = [100 * found[1] / expert for found in seeds]
        points.append(f"{span(shares)}% after {seeds[0][0]:.0f} updates")
    return f"On Hopper the seeds are at {', '.join(points)} of the expert's return."


BLOCKS = (imitation_labels, imitation_gail)
