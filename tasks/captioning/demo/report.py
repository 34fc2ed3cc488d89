"""What became better: the table of the demonstration, one line about templates, scenes with their captions and the curves of the stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from seqrl.run.plots import learning_curves
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.evaluation import cider_d_of, greedy_captions, score_captions
from seqrl.tasks.captioning.facts import check_caption
from seqrl.tasks.captioning.gallery import Captioned, write_gallery
from seqrl.tasks.captioning.task import CaptioningTask

TEMPLATE_SHARE = 0.5
SHOWN_KINDS = ("shapes", "colours", "counts", "relations")
NUM_SCENES, NUM_DRAWN = 12, 6
MIXED_CONFIG = "configs/captioning/scenes_self_critical_mixed.yaml"


@dataclass
class Outcome:
    """What a captioner writes about the test images.

    Attributes:
        label: "before", "control" or "after".
        metrics: of all captions, see `seqrl.tasks.captioning.evaluation.evaluate_captions`.
        captions: the words of each.
        scores: CIDEr-D of each.
        seconds: for which it was trained in the demonstration.
        wrong: for each caption the places of the words that say something that is not so.
    """

    label: str
    metrics: dict[str, float]
    captions: list[list[str]]
    scores: list[float]
    seconds: float
    wrong: list[frozenset[int]] = field(default_factory=list)


def evaluate(label: str, task: CaptioningTask, policy: nn.Module, seconds: float) -> Outcome:
    """Caption the test images greedily and score the captions."""
    split = task.data.test
    captions = greedy_captions(policy, split, task.vocabulary, task.config.evaluation, len(split))
    metrics = score_captions(captions, split)
    words = [caption for caption, _ in captions]
    outcome = Outcome(label, metrics, words, cider_d_of(captions, split), seconds, [frozenset()] * len(words))
    if split.scenes is not None:
        facts = [check_caption(caption, scene) for caption, scene in zip(words, split.scenes, strict=True)]
        outcome.wrong = [fact.wrong_words for fact in facts]
        metrics |= {f"{kind}_said": sum(fact.said[kind] for fact in facts) / len(facts) for kind in SHOWN_KINDS}
        metrics |= {f"{kind}_left_out": sum(fact.left_out[kind] for fact in facts) / len(facts) for kind in SHOWN_KINDS}
    return outcome


def opening(captions: Sequence[Sequence[str]], num_words: int = 2) -> tuple[str, float]:
    """Give the most frequent first words, and the share of captions that begin with them."""
    counts = Counter(tuple(words[:num_words]) for words in captions)
    words, count = counts.most_common(1)[0]
    return " ".join(words), count / len(captions)


def summary(outcome: Outcome) -> str:
    """Say in one line how good captions are."""
    metrics = outcome.metrics
    line = f"CIDEr-D {metrics['cider_d']:.3f}, BLEU-4 {metrics['bleu4']:.3f}, {metrics['length']:.1f} words a caption"
    if "facts_said" not in metrics:
        return line
    return f"{line}; {metrics['facts_said']:.1f} facts said, of which {100 * metrics['facts_right_share']:.0f}% are so"


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, list[str]]]:
    """Lay the metrics out: a name and one cell for each outcome; the first one is what the others are compared with."""
    before = outcomes[0].metrics["cider_d"]

    def row(name: str, key: str, form: str, scale: float = 1.0) -> tuple[str, list[str]]:
        return name, [form.format(scale * outcome.metrics[key]) for outcome in outcomes]

    facts = []
    if "facts_said" in outcomes[0].metrics:
        facts = [
            row("facts said, a caption", "facts_said", "{:.2f}"),
            row("  of these right", "facts_right", "{:.2f}"),
            row("  share that is right", "facts_right_share", "{:.1f}%", 100),
            *((f"    of {kind}", [_share(outcome.metrics, kind) for outcome in outcomes]) for kind in SHOWN_KINDS),
            row("facts left out, a caption", "facts_left_out", "{:.2f}"),
            *(row(f"    {kind}", f"{kind}_left_out", "{:.2f}") for kind in SHOWN_KINDS),
        ]
    gains = [f"{100 * (outcome.metrics['cider_d'] / before - 1):+.0f}%" if before else "" for outcome in outcomes[1:]]
    return [
        row("CIDEr-D", "cider_d", "{:.3f}"),
        ("  gain", ["", *gains]),
        row("BLEU-4", "bleu4", "{:.3f}"),
        row("words a caption", "length", "{:.1f}"),
        row("captions that break off", "bad_endings", "{:.0f}%", 100),
        row("different captions", "distinct", "{:.0f}%", 100),
        *facts,
        ("seconds of training", ["" if not outcome.seconds else f"{outcome.seconds:.0f}" for outcome in outcomes]),
    ]


def _share(metrics: Mapping[str, float], kind: str) -> str:
    return f"{100 * metrics[f'{kind}_right']:.1f}%" if metrics[f"{kind}_said"] else "none said"


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print the table, and say so where the captions have become one template."""
    table = Table(title=f"Greedy captions of {len(outcomes[0].captions)} test images", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", justify="left", no_wrap=True)
    for outcome in outcomes:
        table.add_column(outcome.label, justify="right", no_wrap=True, style="bold" if outcome.label == "after" else "")
    for name, cells in rows(outcomes):
        table.add_row(name, *cells)
    Console().print(table)
    print(template_line(outcomes))


def template_line(outcomes: Sequence[Outcome]) -> str:
    """Say how uniform the captions have become."""
    (_, before), (words, after) = opening(outcomes[0].captions), opening(outcomes[-1].captions)
    line = f'Most frequent opening: "{words} ..." begins {100 * after:.0f}% of the captions after ({100 * before:.0f}% had one before).'
    if after < TEMPLATE_SHARE or after <= before:
        return line
    return f"{line}\nCIDEr-D alone leads to one template; {MIXED_CONFIG} mixes in what holds against it."


def draw_pictures(split: CaptionSplit, outcomes: Mapping[str, Outcome], runs: Sequence[Path], folder: Path) -> list[Path]:
    """Draw the first scenes of the split, not the best ones, and the curves; give the files.

    Args:
        split: what the outcomes are about.
        outcomes: "before" and "after" are drawn.
        runs: whose dev CIDEr-D is drawn against the time that they trained.
        folder: where the files go.
    """
    number = min(NUM_SCENES, len(split))
    columns = {
        outcome.label: [Captioned(" ".join(outcome.captions[row]), outcome.scores[row], outcome.wrong[row]) for row in range(number)]
        for outcome in (outcomes["before"], outcomes["after"])
    }
    title = "The first scenes of the test set, before and after self-critical training"
    curves = learning_curves(
        runs,
        ["dev/cider_d", "dev/facts_right" if split.scenes else "dev/length"],
        folder / "learning_curves.png",
        axes=("time/train_s",),
        title="Same start, same time",
    )
    return [*write_gallery(split, columns, folder, title=title, num_drawn=NUM_DRAWN), curves]
