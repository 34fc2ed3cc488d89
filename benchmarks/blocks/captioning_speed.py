"""Figures of sampling and learning with a pretrained captioner."""

from __future__ import annotations

from typing import Any

from blocks.text import number, table

CASES = {
    "ends": "encoder learns",
    "ends_frozen": "encoder frozen",
    "full": "no caption ends, encoder learns",
    "full_frozen": "no caption ends, frozen",
}
WHO = {"ours": "ours", "plain": "ours, decoder of transformers", "loop": "`generate`, autograd", "careful": "the same, encoding once"}
PARTS = ("encode", "sample", "reward", "learn", "step")


def captioning_speed(files: Any) -> str:
    """Milliseconds of a self-critical step beside the peer's, part by part, and ratios."""
    # The large ones take most of an hour, and are measured apart.
    results, large = files.read("captioning.json"), files.read("captioning_large.json")
    sizes = results["sizes"] | large["sizes"]
    rows, ratios = [], []
    for size, found in sizes.items():
        name = "our small captioner" if size == "own" else f"{number(found['parameters']['parameters'] / 1e6, 1)} million"
        for case, summary in found["cases"].items():
            sides = summary["wall_ms"]
            for side in sides:
                who = WHO[side]
                rows.append([f"{name}, {CASES[case]}", who, *(number(sides[side][part]) for part in PARTS)])
            for peer, wall in summary.get("wall_ratio", {}).items():
                processor = summary["processor_ratio"][peer]
                cells = [f"{number(wall[part], 1)} ({number(processor[part], 1)})" for part in _RATIOS]
                length = number(summary["mean_length"]["ours"], 1)
                ratios.append([f"{name}, {CASES[case]}", WHO[peer], *cells, *_memory(summary, peer), length])
    head = ["parameters, case", "", *(f"{part} (ms)" for part in PARTS)]
    second = [
        "times as fast as",
        "",
        "sample",
        "encode and sample",
        "learn",
        "step",
        "peak memory, share of the peer's",
        "tokens a caption",
    ]
    vocabulary = ", ".join(
        f"{number(found['parameters']['vocabulary_parameters'] / 1e6, 1)} of {number(found['parameters']['parameters'] / 1e6, 1)}"
        for found in sizes.values()
        if found["parameters"]
    )
    return f"""{results["images"]} images, a greedy caption and {results["samples_an_image"]} samples each, at most 20 tokens, fp32.
Medians of wall-clock; in brackets ratios of CPU time. With a frozen encoder ours reads hidden states that were computed once.
Of the parameters, in millions, belong to the vocabulary: {vocabulary}.

{table(head, rows)}

{table(second, ratios)}"""


_RATIOS = ("sample", "decode", "learn", "step")


def _memory(summary: dict[str, Any], peer: str) -> list[str]:
    """Give our share of the peer's memory: all of the process, and what came with the steps."""
    if "memory" not in summary:
        return ["not measured"]
    shares = [100 * summary["memory"]["ours"][key] / summary["memory"][peer][key] for key in ("peak_mb", "growth_mb")]
    return [f"{shares[0]:.0f}%, of what steps need {shares[1]:.0f}%"]


BLOCKS = (captioning_speed,)
