"""Figures of translation from English to German on Multi30k: before and after training for sentence BLEU."""

from __future__ import annotations

from typing import Any

from blocks.text import mean_and_span, number, table

STAGES = {"xe": "cross-entropy", "control": "more cross-entropy, same time", "sc": "self-critical on sentence BLEU"}


def multi30k(files: Any) -> str:
    """Test figures of every stage, mean (lowest to highest of the seeds), and the gain of each seed with its interval."""
    found = files.read("multi30k.json")
    seeds, rows, lines = found["seeds"], [], []
    for stage, name in STAGES.items():
        of_seeds = [each["stages"][stage] for each in seeds.values() if stage in each["stages"]]
        if not of_seeds:
            continue
        figures = {"greedy_dev_bleu": 1, "greedy_bleu": 1, "dev_bleu": 1, "bleu": 1, "length_ratio": 3, "updates": 0}
        rows.append([name, *(mean_and_span([each[key] for each in of_seeds], places) for key, places in figures.items())])
        if stage != "xe":
            gains = ", ".join(
                f"{each['gain']:+.2f} ({number(each['interval'][0], 2)} to {number(each['interval'][1], 2)})" for each in of_seeds
            )
            lines.append(f"{name}, beam of {found['beam']} on test, seed by seed: BLEU {gains}, 95% intervals of paired resampling.")
    head = ("English to German", "dev, greedy", "test, greedy", "dev, beam", "test, beam", "length ratio of the last", "updates")
    penalties = ", ".join(str(each["length_penalty"]) for each in seeds.values())
    places = sorted({each["stages"]["xe"]["trained_on"] for each in seeds.values()})
    lines.append(
        f"Length penalties {penalties}, chosen on dev for the cross-entropy models, which were trained on: {', '.join(places)}. "
        f"Signature: `{found['signature']}`."
    )
    return "\n\n".join([table(head, rows), *lines])


BLOCKS = (multi30k,)
