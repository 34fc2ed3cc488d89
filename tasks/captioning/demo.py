"""The demonstration: train a captioner by cross-entropy, optimise CIDEr-D, and show what changed (`make demo`)."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.plots import learning_curves
from seqrl.run.train import load, train
from seqrl.tasks.captioning.evaluation import cider_d_of, greedy_captions
from seqrl.tasks.captioning.gallery import GalleryItem, write_gallery
from seqrl.tasks.captioning.task import CaptioningTask

STAGES = {
    "cross_entropy": "cross-entropy until the dev score stops rising",
    "more_cross_entropy": "cross-entropy for at least as long as self-critical training took",
    "self_critical": "self-critical training on CIDEr-D",
}


def run_demo(folder: Path, *, seed: int = 0, overrides: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Train the three stages and write pictures.

    Args:
        folder: the runs go below it, pictures to `figures/`.
        seed: of everything.
        overrides: changes of all three configurations, as on the command line.

    Returns:
        For each stage its greedy test figures and the seconds that it took.
    """
    start = time.perf_counter()
    own = [f"--runs_folder={folder}", f"--seed={seed}", *overrides]
    seconds = {}

    def stage(name: str, config: str, *changes: str) -> int:
        print(f"\n{STAGES[name]}", flush=True)
        began = time.perf_counter()
        result = train(read_config(config, [f"--name={name}", *changes, *own]), overwrite=True)
        seconds[name] = time.perf_counter() - began
        return result.step

    steps = stage("cross_entropy", "captioning/scenes_xe")
    warm = f"--init_from={folder / 'cross_entropy'}"
    stage("self_critical", "captioning/scenes_self_critical", warm)
    # A quarter of the first stage's learning rate, falling to 0 again: a restart that can still find something better.
    # A tenth more updates than would take the same time, for the machine may have been busier before.
    more = math.ceil(1.1 * steps * loop_seconds(folder / "self_critical") / loop_seconds(folder / "cross_entropy"))
    rate = read_config("captioning/scenes_xe", own).trainer.optimiser.learning_rate / 4
    changes = (
        f"--steps={more}",
        f"--trainer.optimiser.learning_rate={rate}",
        "--trainer.optimiser.warmup_updates=0",
        "--early_stop.patience=null",
    )
    stage("more_cross_entropy", "captioning/scenes_xe", warm, *changes)
    figures = show(folder, seconds)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    return figures


def loop_seconds(run: Path) -> float:
    """Seconds that a run trained, without loading and evaluating."""
    return max(line["time/train_s"] for line in read_metrics(run) if "time/train_s" in line)


def show(folder: Path, seconds: dict[str, float]) -> dict[str, dict[str, float]]:
    """Evaluate the stages on the test images, print the table and draw the pictures."""
    figures: dict[str, dict[str, float]] = {}
    policies: dict[str, nn.Module] = {}
    for name in STAGES:
        _, loaded, policies[name], _ = load(folder / name)
        assert isinstance(loaded, CaptioningTask)
        task = loaded
        figures[name] = task.evaluate(policies[name], split="test") | {"seconds": seconds[name]}
    _print_table(figures)
    pictures = write_gallery(
        _before_and_after(task, policies), folder / "figures", title="Captions before and after self-critical training"
    )
    curves = folder / "figures" / "learning_curves.png"
    learning_curves([folder / name for name in STAGES], ["dev/cider_d", "dev/length"], curves)
    for path in [*pictures, curves]:
        print(f"wrote {path}")
    return figures


def _before_and_after(task: CaptioningTask, policies: dict[str, nn.Module], *, count: int = 12) -> list[GalleryItem]:
    split, scored = task.data.test, {}
    for label, name in {"before": "cross_entropy", "after": "self_critical"}.items():
        captions = greedy_captions(policies[name], split, task.vocabulary, task.config.evaluation, count)
        scored[label] = [(" ".join(words), score) for (words, _), score in zip(captions, cider_d_of(captions, split), strict=True)]
    return [
        GalleryItem(
            split.image_ids[index], split.images[index], {label: rows[index] for label, rows in scored.items()}, split.references[index]
        )
        for index in range(count)
    ]


def _print_table(figures: dict[str, dict[str, float]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Greedy captions of the test images", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("stage", "CIDEr-D", "gain", "BLEU-4", "words", "broken", "distinct", "seconds"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    before = figures["cross_entropy"]["cider_d"]
    for name, row in figures.items():
        gain = "" if name == "cross_entropy" or not before else f"{100 * (row['cider_d'] / before - 1):+.0f}%"
        shares = [f"{100 * row[key]:.0f}%" for key in ("bad_endings", "distinct")]
        cells = [f"{row['cider_d']:.3f}", gain, f"{row['bleu4']:.3f}", f"{row['length']:.1f}", *shares, f"{row['seconds']:.0f}"]
        table.add_row(name.replace("_", " "), *cells)
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demonstration from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="where runs and pictures go")
    parser.add_argument("--seed", type=int, default=0)
    parsed, overrides = parser.parse_known_args(arguments)
    run_demo(parsed.folder, seed=parsed.seed, overrides=overrides)


if __name__ == "__main__":
    main()
