"""Figures of captions and of their rewards."""

from __future__ import annotations

from typing import Any

from blocks.text import number, rounded_span, span, table

# coco-caption's README, for the example hypotheses that it ships; https://github.com/tylin/coco-caption
PUBLISHED = {"CIDEr-D": 0.600, "BLEU-1": 0.579, "BLEU-2": 0.404, "BLEU-3": 0.279, "BLEU-4": 0.191, "ROUGE-L": 0.396}


def rewards(files: Any) -> str:
    """Rates of the rewards beside pycocoevalcap."""
    alone = files.read("rewards.json")
    inside = list(files.read("rewards_in_training.json")["seeds"].values())
    rows = []
    for key, title in (("cider_d", "CIDEr-D alone"), ("bleu4", "BLEU-4 alone"), ("rouge_l", "ROUGE-L alone")):
        seeds = [seed[key] for seed in alone["seeds"].values()]
        columns = [[seed[column] for seed in seeds] for column in ("ours_per_s", "peer_per_s", "ratio")]
        rows.append([title, *(rounded_span(column, 3) for column in columns[:2]), span(columns[2])])
    columns = [[seed[column] for seed in inside] for column in ("ours", "pycocoevalcap", "ratio")]
    rows.insert(1, ["CIDEr-D inside self-critical updates", *(rounded_span(column, 3) for column in columns[:2]), span(columns[2])])
    largest = max(row["largest_difference"] for seed in alone["seeds"].values() for row in seed.values())
    head = ["", "ours, captions a second", "pycocoevalcap, captions a second", "times as fast"]
    return f"""{alone["captions"]} captions of {alone["images"]} images with {alone["references_an_image"]} references each, one thread,
both in one process in turn, lowest and highest of the seeds. The largest difference of a score from pycocoevalcap's is {largest:.0e}.

{table(head, rows)}"""


def flickr8k(files: Any) -> str:
    """Test and dev figures of the three stages on photographs."""
    results = files.read("flickr8k.json")
    stages = ("xe", "control", "sc")
    parts = []
    for split in ("test", "dev"):
        rows = []
        for title, key in (
            ("CIDEr-D, greedy", "cider_d"),
            ("CIDEr-D, beam 3", "beam/cider_d"),
            ("BLEU-4, greedy", "bleu4"),
            ("BLEU-4, beam 3", "beam/bleu4"),
        ):
            summary = [results["summary"][split][stage][key] for stage in stages]
            cells = [f"{number(cell['mean'], 3)} ({number(cell['low'], 3)}-{number(cell['high'], 3)})" for cell in summary]
            gains = [f"{100 * (cell['mean'] / summary[0]['mean'] - 1):+.0f}%" for cell in (summary[2], summary[1])]
            rows.append([title, *cells, f"{gains[0]} (control: {gains[1]})"])
        for title, key in (("captions that break off, greedy", "bad_endings"), ("captions that break off, beam 3", "beam/bad_endings")):
            summary = [results["summary"][split][stage][key] for stage in stages]
            cells = [f"{100 * cell['mean']:.1f}% ({100 * cell['low']:.1f}-{100 * cell['high']:.1f})" for cell in summary]
            rows.append([title, *cells, ""])
        head = [split, "cross-entropy", "more cross-entropy, same time", "self-critical", "gain over cross-entropy"]
        parts.append(table(head, rows))
    updates = [seed["control"] for seed in results["updates"].values()]
    first = next(iter(results["updates"].values()))
    parts.append(
        f"Updates: cross-entropy {first['xe']:,}, self-critical {first['sc']:,}, control {span(updates)}, as many as take the time "
        "(CPU time) of the self-critical run."
    )
    return "\n\n".join(parts)


# CIDEr, BLEU-4 and ROUGE-L on the 1,000 test photographs in full size, a beam of 5: S. Katiyar's PyTorch model after Lu et al. 2017,
# https://github.com/sulabhkatiyar/Spatial_Att
PUBLISHED_FLICKR8K = (
    ("spatial attention, VGG-16 frozen", 0.497, 0.197, 0.450),
    ("spatial attention, ResNet-152 fine-tuned", 0.565, 0.232, 0.483),
)


def flickr8k_features(files: Any) -> str:
    """Figures of the three stages on photographs seen by frozen eyes, beside published ones."""
    results = files.read("flickr8k_features.json")
    stages, parts = ("xe", "control", "sc"), []
    lines = (
        ("CIDEr-D", "cider_d", 3, 1),
        ("BLEU-4", "bleu4", 3, 1),
        ("ROUGE-L", "rouge_l", 3, 1),
        ("words a caption", "length", 1, 1),
        ("broken off, %", "bad_endings", 1, 100),
        ("different captions, %", "distinct", 1, 100),
        ("different words", "vocabulary", 0, 1),
    )
    for split in ("test", "dev"):
        rows = []
        for title, key, digits, scale in lines:
            for way, name in (("beam", "beam 5"), ("greedy", "greedy")):
                shown = [results["summary"][split][stage][way][key] for stage in stages]
                cells = [" ".join([number(scale * cell["mean"], digits), _between(cell, scale, digits)]) for cell in shown]
                gain = f"{100 * (shown[2]['mean'] / shown[0]['mean'] - 1):+.1f}%" if scale == 1 else ""
                rows.append([f"{title}, {name}", *cells, gain])
        head = [f"{split}, {len(results['provenance']['seeds'])} seeds", "cross-entropy", "more cross-entropy", "self-critical", "change"]
        parts.append(table(head, rows))
    compared = [
        [name, *(f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" for row in rows)]
        for name, rows in results["compared"].items()
    ]
    seeds = [f"seed {seed}" for seed in results["provenance"]["seeds"]]
    parts.append(table(["CIDEr-D on test, image by image, 95% interval", *seeds], compared))
    rows = [[name, *(number(figure, 3) for figure in figures)] for name, *figures in PUBLISHED_FLICKR8K]
    for name, stage in _NAMED_STAGES:
        figures = results["summary"]["test"][stage]["beam"]
        rows.append([f"ours, {name}", *(number(figures[key]["mean"], 3) for key in ("cider_d", "bleu4", "rouge_l"))])
    parts.append(table(["test, beam of 5", "CIDEr-D", "BLEU-4", "ROUGE-L"], rows))
    return "\n\n".join(parts)


_NAMED_STAGES = (("cross-entropy", "xe"), ("self-critical", "sc"))


def _between(cell: dict[str, float], scale: float, digits: int) -> str:
    return f"({number(scale * cell['low'], digits)} to {number(scale * cell['high'], digits)})"


def reward_hacking(files: Any) -> str:
    """How far each setting's training reward and dev figures went."""
    results = files.read("reward_hacking.json")
    rows = []
    for name, figures in results["summary"].items():
        lengths = " ".join([number(figures["dev/length_first"], 1), "to", number(figures["dev/length_last"], 1)])
        different, broken = ([100 * figures[f"dev/{key}_{place}"] for place in ("first", "last")] for key in ("distinct", "bad_endings"))
        rows.append(
            [
                name,
                " ".join([number(figures["reward_first"], 2), "to", number(figures["reward_last"], 2)]),
                number(figures["dev/cider_d_first"], 3),
                f"{number(figures['best'], 3)} at {figures['best_at']:.0f}",
                number(figures["dev/cider_d_last"], 3),
                lengths,
                " ".join([number(different[0], 0), "to", number(different[1], 0)]),
                " ".join([number(broken[0], 1), "to", number(broken[1], 1)]),
            ]
        )
    head = [
        "",
        "training reward",
        "dev CIDEr-D, start",
        "best, at update",
        f"after {results['updates']}",
        "words a caption",
        "different, %",
        "broken off, %",
    ]
    return table(head, rows)


def reward_matrix(files: Any) -> str:
    """Each metric optimised, all of them reported; then what captions look like."""
    results = files.read("reward_matrix.json")
    metrics, parts = results["metrics"], []
    columns = [*((metric, 3, 1) for metric in metrics), ("length", 1, 1), ("bad_endings", 1, 100), ("distinct", 0, 100)]
    titles = [*(_title(metric) for metric in metrics), "words", "broken off, %", "different, %"]
    for way, name in (("greedy", "greedy"), ("beam", "beam 5")):
        rows = []
        for reward, figures in results["summary"][way].items():
            cells = [
                " ".join([number(scale * figures[key]["mean"], digits), _between(figures[key], scale, digits)])
                for key, digits, scale in columns
            ]
            rows.append([_title(reward), *cells])
        parts.append(table([f"trained for, {len(results['provenance']['seeds'])} seeds; test, {name}", *titles], rows))
    rows = [[_title(reward), *captions["greedy"]] for reward, captions in results["examples"].items()]
    places = [f"photograph {place + 1}" for place in range(len(rows[0]) - 1)]
    return "\n\n".join([*parts, table(["trained for, first seed", *places], rows)])


_TITLES = {"cider_d": "CIDEr-D", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "meteor": "METEOR", "spice": "SPICE", "spider": "SPIDEr"}


def _title(reward: str) -> str:
    return " + ".join(_TITLES.get(part, part) for part in reward.split("+"))


def captioning_trainers(files: Any) -> str:
    """Ten trainers from one checkpoint."""
    results = files.read("captioning_trainers.json")
    summary = results["summary"]

    def cell(figure: dict[str, float], digits: int) -> str:
        return f"{number(figure['mean'], digits)} ({number(figure['low'], digits)}-{number(figure['high'], digits)})"

    rows = []
    for name, row in summary["methods"].items():
        trainer, _, baseline = name.replace("self_critical", "self-critical").partition("_")
        figures = [cell(row[key], 3) for key in ("dev_cider_d", "train_reward")]
        rows.append(
            [
                f"`{trainer.replace('-', '_')}`",
                baseline.replace("_", " "),
                *figures,
                cell(row["processor_s"], 1),
                cell(row["dev_cider_d_at_same_time"], 3),
            ]
        )
    samples = results["runs"][0]["evaluations"]["samples"][-1]
    seconds = number(summary["same_time_s"], 0)
    head = [
        "trainer",
        "baseline or advantage",
        f"dev CIDEr-D after {samples:,} samples",
        "train reward, last updates",
        "CPU time (s)",
    ]
    return (
        table([*head, f"dev CIDEr-D after {seconds} s"], rows)
        + "\n\nMean over the seeds and 95% bootstrap interval, which with three seeds is no wider than their range. "
        + f"The checkpoint has {number(summary['start'], 3)}."
    )


BLOCKS = (rewards, flickr8k, flickr8k_features, reward_hacking, reward_matrix, captioning_trainers)
