"""What an update costs in time and memory, and what several processes do with it."""

from __future__ import annotations

from typing import Any

from blocks.text import number, table

AXES = {
    "base": "as in the other rows",
    "images": "images of an update",
    "samples": "captions of an image",
    "tokens": "longest caption",
    "dim": "size of the layers",
    "layers": "layers",
}
SIZES = {"base": "small", "large": "large"}


def scaling(files: Any) -> str:
    """Time and memory of an update on one process, and the formula that fits them."""
    results = files.read("scaling.json")
    rows = [
        [
            AXES[point["axis"]] if point["axis"] == "base" else f"{AXES[point['axis']]}: {point[point['axis']]}",
            number(point["parameters"] / 1e6, 2),
            number(point["processor_ms"], 0),
            number(1000 * point["images"] * point["samples"] / point["processor_ms"], 0),
            number(point["peak_mb"], 0),
        ]
        for point in results["one"]
    ]
    base, ms = results["one"][0], results["fit"]["ms"]
    head = ["what differs", "parameters (million)", "update (ms)", "captions a second", "peak of memory (MiB)"]
    error = 100 * results["fit"]["largest_error"]
    mean = 100 * results["fit"]["mean_error"]
    return f"""Otherwise {base["images"]} images, {base["samples"]} captions of each, {base["tokens"]} tokens at most,
{base["layers"]} layers of {base["dim"]}. Times are CPU time, memory is what policy and updates need beyond imports and data.

{table(head, rows)}

Fitted to these points, in milliseconds, with the parameters in millions:

    t = {ms["once"]:.3g} + {ms["image"]:.3g} images + captions * tokens * ({ms["token"]:.3g} + {ms["million"]:.3g} parameters)

It is off by {mean:.0f}% in the mean and {error:.0f}% at worst."""


def scaling_processes(files: Any) -> str:
    """One process and two, each with all weights or with its part, and the model of more."""
    results = files.read("scaling.json")
    rows = []
    for point in results["several"]:
        kind = {"none": "all weights each", "full": "a part each"}[point["sharding"]] if point["processes"] > 1 else ""
        rows.append(
            [
                SIZES[point["size"]],
                f"{point['processes']} {kind}".strip(),
                number(point["parameters"] / 1e6, 1),
                number(point["parameters_here"] / 1e6, 1),
                number(point["wall_ms"], 0),
                number(point["rows_per_s"], 1),
                number(point["exchange_ms"], 1),
                number(point["at_rest_mb"], 0),
                number(point["peak_mb"], 0),
            ]
        )
    head = [
        "policy",
        "processes",
        "parameters (million)",
        "kept by the first process",
        "update (ms)",
        "captions a second",
        "exchange of gradients (ms)",
        "memory of one at rest (MiB)",
        "its peak (MiB)",
    ]
    more = [[str(row["processes"]), number(row["rows_per_s"], 0), f"{100 * row['efficiency']:.0f}%"] for row in results["modelled"]]
    return f"""Each process has a batch of its own; times are wall-clock.

{table(head, rows)}

From the small policy's exchange between two processes, modelled and not measured:

{table(["processes", "captions a second", "share of the time that is not exchange"], more)}"""


BLOCKS = (scaling, scaling_processes)
