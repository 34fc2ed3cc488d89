"""Figures of texts: replies a second beside a plain loop, and what rewards and credit do on the built-in acts."""

from __future__ import annotations

from typing import Any

from blocks.text import mean, mean_and_span, number, span, table

SIDES = {
    "ours": "ours",
    "plain_nltk": "plain loop, a prompt at a time, nltk",
    "batched_nltk": "batched loop, nltk",
    "batched_sacrebleu": "batched loop, sacrebleu",
}
WAYS = {
    "xe": "cross-entropy, from which the others start",
    "more_xe": "more cross-entropy, as many updates",
    "self_critical": "self-critical, whole scores",
    "reinforce": "REINFORCE, whole scores",
    "per_token": "REINFORCE, credit for each token",
    "corpus_gain": "self-critical, gain in the batch's corpus BLEU",
}


def replies(files: Any) -> str:
    """Replies sampled, scored and learned from in a CPU second, and what share of it the reward takes."""
    results = files.read("replies.json")
    rows = []
    for seeds in results["sizes"].values():
        runs = list(seeds.values())
        for name, who in SIDES.items():
            rates = [run[name]["replies_per_second"] for run in runs]
            ratios = [run["ours"]["replies_per_second"] / run[name]["replies_per_second"] for run in runs]
            by_tokens = [_tokens_per_second(run["ours"]) / _tokens_per_second(run[name]) for run in runs]
            shares = [100 * run[name]["shares"]["reward"] for run in runs]
            size = f"{number(runs[0][name]['parameters'] / 1e6, 2)} million"
            lengths = [run[name]["tokens_a_reply"] for run in runs]
            rows.append(
                [
                    size,
                    who,
                    span(rates),
                    *(["", ""] if name == "ours" else [span(ratios, 1), span(by_tokens, 1)]),
                    mean(lengths, 1),
                    span(shares, 1),
                ]
            )
    head = [
        "parameters",
        "",
        "replies a second",
        "ours is so many times as fast",
        "by tokens",
        "tokens a reply",
        "the reward takes (% of the time)",
    ]
    sizes = f"{results['prompts']} dialogue acts with {results['samples']} replies each, at most {results['max_tokens']} tokens"
    return f"""{sizes}, fp32, one thread; CPU seconds.
Each side has learned for a while by cross-entropy and writes replies of its own length, hence also the ratio by tokens.

{table(head, rows)}"""


def _tokens_per_second(side: dict[str, Any]) -> float:
    return float(side["replies_per_second"] * side["tokens_a_reply"])


def text_rewards(files: Any) -> str:
    """Corpus BLEU and slot errors on the test acts after each way of training."""
    results = files.read("text_rewards.json")
    rows = []
    for way, who in WAYS.items():
        runs = [run["test"] for run in results["ways"][way].values()]
        cells = [mean_and_span([run[key] for run in runs], 3) for key in ("bleu4", "slot_error", "length_ratio", "unknown_slots")]
        rows.append([who, *cells])
    bleu, errors = (
        [results["ways"]["per_token"][seed]["test"][key] - run["test"][key] for seed, run in results["ways"]["reinforce"].items()]
        for key in ("bleu4", "slot_error")
    )
    head = ["built-in acts, test", "corpus BLEU-4", "slot error rate", "length ratio", "replies with a slot that nobody asked for"]
    return f"""{table(head, rows)}

Mean and range of {len(results["ways"]["xe"])} seeds, {results["updates"]} updates each after cross-entropy.
Credit for each token changes BLEU-4 by {span(bleu, 3)} and the slot error rate by {span(errors, 3)}, seed by seed."""


BLOCKS = (replies, text_rewards)
