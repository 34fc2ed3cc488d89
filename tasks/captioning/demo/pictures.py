"""Pictures of the demonstration: scenes with their captions before and after, and the curves of the two stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqrl.run.plots import learning_curves
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.demo.report import Outcome
from seqrl.tasks.captioning.gallery import Captioned, write_gallery

NUM_SCENES, NUM_DRAWN = 12, 6


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
