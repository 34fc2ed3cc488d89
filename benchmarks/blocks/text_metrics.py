"""Figures of the metrics of text: whom they agree with, how closely, and how fast they are."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import number, rounded, span, table

HEAD = ("metric", "agrees with", "to how much, on what", "captions a second", "needs")
# Metrics of text_metrics.json: what they are called, and what they need beside the package itself.
PEERS = {
    "rouge1": ("`rouge1`", "-"),
    "rouge2": ("`rouge2`", "-"),
    "rouge_lsum": ("`rouge_lsum`", "-"),
    "chrf": ("`chrf`", "-"),
    "ter": ("`ter`", "-"),
    "wer": ("`wer`", "-"),
    "edit_distance": ("`edit_distance`", "-"),
    "embedding": ("`embedding`", "`seqrl[embeddings]`, or a model of your own"),
}
ALONE = ("exact_match", "slot_error", "self_cider", "distinct1", "distinct2", "vocabulary")


def text_metrics(files: Any) -> str:
    """The metrics in one table: agreement, speed, needs."""
    rows = [
        *_of_ngrams(files.read("rewards.json")),
        *_meteor(files.read("meteor.json")),
        *_spice(files),
        *_others(files.read("text_metrics.json")),
    ]
    tokens = files.read("tokeniser.json")
    coco, rates = tokens["texts"]["coco"], tokens["captions_per_s"]
    agreed = f"{100 * coco['agreement']:.4f}% of {number(coco['words'])} words of {number(coco['lines'])} raw COCO captions"
    fast = f"{rounded(rates['ours'])}; Java with the whole file at once {rounded(rates['java_whole_file'])}"
    rows.append(["`ptb_tokenize`", "Stanford's PTBTokenizer 3.4.1 (Java)", agreed, fast, "-"])
    return table(HEAD, rows)


def _of_ngrams(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for key, name in (("cider_d", "`cider_d`"), ("bleu4", "`bleu1` to `bleu4`"), ("rouge_l", "`rouge_l`")):
        seeds = [seed[key] for seed in found["seeds"].values()]
        difference = max(seed["largest_difference"] for seed in seeds)
        rate, times = (statistics.fmean(seed[column] for seed in seeds) for column in ("ours_per_s", "ratio"))
        said = "to the bit" if difference == 0 else f"{difference:.0e}"
        rows.append([name, "pycocoevalcap", f"{said}, a caption", f"{rounded(rate)}, {number(times)} times as fast", "-"])
    return rows


def _meteor(found: dict[str, Any]) -> list[list[str]]:
    thousand, coco, rounds = found["thousand"], found["coco"], found["rounds"]
    equal = [f"{100 * part['equal_to_1e-6']:.1f}% of {number(part['captions'])}" for part in (thousand, coco)]
    corpus = f"corpus {number(coco['corpus'], 4)} for {number(coco['corpus_java'], 4)}"
    speed = f"{rounded(statistics.fmean(each['ours_per_s'] for each in rounds))}, {span([each['ratio'] for each in rounds])} times as fast"
    agreed = f"to 1e-6 on {' and '.join(equal)} COCO captions; {corpus}"
    return [["`meteor`", "METEOR 1.5 (Java)", agreed, speed, "-"]]


def _spice(files: Any) -> list[list[str]]:
    found, parser = files.read("spice.json"), files.read("spice_parser.json")["published_graphs"]["held_out"]
    held = found["agreement"]["as_written"]["held_out"]
    new, training = (
        statistics.fmean(rate)
        for rate in zip(*((seed["new_captions_per_s"], seed["training"]["per_s"]) for seed in found["seeds"].values()), strict=True)
    )
    agreed = (
        f"correlation {number(held['pearson'], 3)}, mean {number(held['mean'], 4)} for {number(held['official_mean'], 4)} on "
        f"{number(held['candidates'])} Flickr8k captions of held-out images; tuples of held-out graphs: F1 {number(parser['all_f1'], 2)}"
    )
    speed = f"{rounded(new)} new ones, {rounded(training)} in training"
    return [["`spice`, `spider`", "the official program (Java), not equal to it: its own parser", agreed, speed, "-"]]


def _others(found: dict[str, Any]) -> list[list[str]]:
    rows, metrics = [], found["metrics"]
    for key, (name, needs) in PEERS.items():
        row = metrics[key]
        difference = row["largest_difference"]
        said = "equal" if difference == 0 else f"{difference:.0e}"
        speed = f"{rounded(row['ours_per_s'])}, {number(row['ratio'], 1)} times as fast"
        rows.append([name, row["peer"], f"{said}, {number(found['captions'])} COCO captions", speed, needs])
    for key in ALONE:
        rows.append([f"`{key}`", "-", "its definition, by hand or brute force", rounded(metrics[key]["ours_per_s"]), "-"])
    return rows


def spice_agreement(files: Any) -> str:
    """SPICE beside the official program's scores and people's judgements."""
    found = files.read("spice.json")["agreement"]
    rows = []
    for kind, title in (("as_written", "as written"), ("without_punctuation", "without punctuation")):
        for part, name in (
            ("development", "looked at while it was written"),
            ("held_out", "of other images"),
            ("held_out_new_captions", "of these, captions that no other image has"),
        ):
            row = found[kind][part]
            low, high = row["interval_95"]["pearson"]
            rows.append(
                [
                    f"{title}, {name}",
                    number(row["candidates"]),
                    f"{number(row['pearson'], 3)} ({number(low, 3)} to {number(high, 3)})",
                    f"{number(row['mean'], 4)}, {number(row['official_mean'], 4)}",
                    f"{number(row['tau_c'], 3)}, {number(row['official_tau_c'], 3)}",
                ]
            )
    head = [
        "captions",
        "number",
        "correlation with the official F (95%)",
        "mean: ours, official",
        "Kendall's tau-c with people: ours, official",
    ]
    graphs = files.read("spice_parser.json")["published_graphs"]
    second = [
        [name, *(number(graphs[part][key], 3) for part in ("development", "held_out"))]
        for key, name in (
            ("all_f1", "all tuples"),
            ("objects_f1", "objects"),
            ("attributes_f1", "attributes"),
            ("relations_f1", "relations"),
        )
    ]
    return f"""{table(head, rows)}

{table(["F1 against the official parser's graphs", "looked at", "not looked at"], second)}"""


def metrics_in_training(files: Any) -> str:
    """Rates of metrics that are rewarded, and what share of an update they take."""
    found = files.read("rewards_in_training_metrics.json")
    rows = []
    for name, seeds in found["metrics"].items():
        first, later, share = (
            [seed[key] for seed in seeds.values()] for key in ("captions_per_second_first_half", "captions_per_second", "share")
        )
        shares = span([100 * value for value in share], 1)
        rows.append([f"`{name}`", rounded(statistics.median(first)), rounded(statistics.median(later)), f"{shares}%"])
    head = ["reward", "captions a second, first half of the updates", "second half", "share of an update's time"]
    return table(head, rows)


def drop_in(files: Any) -> str:
    """The drop-in's classes beside pycocoevalcap's."""
    found = files.read("drop_in.json")
    rows = []
    for name, row in found["classes"].items():
        cells = [f"`{name}`", rounded(row["ours_per_s"])]
        if "theirs_per_s" in row:
            apart = "none" if row["corpus_difference"] == 0 else f"{row['corpus_difference']:.0e}"
            equal = f"{100 * row['equal_to_1e-6']:.1f}%"
            cells += [rounded(row["theirs_per_s"]), number(row["ratio"], 1), f"{apart}, {equal}"]
        else:
            cells += ["not run: its models are not at hand", "", ""]
        rows.append(cells)
    head = [
        "class",
        "ours, captions a second",
        "pycocoevalcap's",
        "times as fast",
        "difference of the corpus figure, captions equal to 1e-6",
    ]
    return table(head, rows)


BLOCKS = (text_metrics, spice_agreement, metrics_in_training, drop_in)
