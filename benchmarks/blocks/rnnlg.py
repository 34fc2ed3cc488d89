"""Figures of responses to dialogue acts on RNNLG, beside the toolkit's own table."""

from __future__ import annotations

from typing import Any

from blocks.text import mean_and_span, number, table

STAGES = {
    "xe": "transformer, cross-entropy",
    "control": "more cross-entropy, same time",
    "sc": "self-critical on BLEU - slot errors",
    "mrt": "minimum risk on the same",
    "sc_lstm": "our SC-LSTM, cross-entropy",
}
HEAD = ("generator", "BLEU", "slot errors, %", "of slots without values, %", "BLEU of the first, sacrebleu", "seeds")


def rnnlg(files: Any) -> str:
    """Test figures of every stage, mean (lowest to highest of the seeds), and whether training for the reward helped in each seed."""
    found, parts = files.read("rnnlg.json"), []
    for domain, published in found["published"].items():
        rows = [[f"{name}, published", number(bleu, 4), number(error, 2), "", "", ""] for name, (bleu, error) in published.items()]
        crafted = found["hand_crafted"].get(domain)
        if crafted is None:
            continue
        rows.append(["hand-crafted, of the data", *_cells([crafted]), ""])
        stages: dict[str, dict[int, dict[str, float]]] = {}
        for row in found["rows"]:
            if row["domain"] == domain:
                stages.setdefault(row["stage"], {})[row["seed"]] = row["test"]
        for stage, name in STAGES.items():
            if seeds := stages.get(stage):
                rows.append([name, *_cells(list(seeds.values())), ", ".join(map(str, seeds))])
        parts.append(table((f"{domain}: {HEAD[0]}", *HEAD[1:]), rows))
        before = stages.get("xe", {})
        for stage in ("sc", "mrt", "control"):
            pairs = [(before[seed], after) for seed, after in stages.get(stage, {}).items() if seed in before]
            if pairs:
                gains = ", ".join(f"{after['bleu'] - first['bleu']:+.4f}" for first, after in pairs)
                shares = ", ".join(number(after["err"] / first["err"], 2) for first, after in pairs if first["err"])
                parts.append(f"{STAGES[stage]}, seed by seed: BLEU {gains}; slot errors times {shares}.")
    return "\n\n".join(parts)


def _cells(scores: list[dict[str, float]]) -> list[str]:
    digits = {"bleu": 4, "err": 2, "delexicalised_err": 2, "one_best_sacrebleu": 1}
    return [mean_and_span([score[key] for score in scores], places) for key, places in digits.items()]


BLOCKS = (rnnlg,)
