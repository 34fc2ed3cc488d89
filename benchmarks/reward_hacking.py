"""A reward that climbs while captions get worse, and what prevents it: self-critical training on Flickr8k in several settings.

    SEQRL_DATA=/folder/of/data python benchmarks/reward_hacking.py --start runs/flickr_features/xe_seed0 --seed 0

All runs start from the same cross-entropy run and configs/captioning/flickr8k_features_self_critical.yaml, with more and more against it.
Runs that are finished under --folder are read as they are, so that they may be made side by side with --only NAME. Writes
benchmarks/results/reward_hacking.json and docs/figures/reward_hacking.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from competitors import train_once
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.log import read_metrics
from seqrl.run.plots import COLOURS
from seqrl.trainers.ppo import PPOConfig

CONFIG = ROOT / "configs" / "captioning" / "flickr8k_features_self_critical.yaml"
FIGURE = ROOT / "docs" / "figures" / "reward_hacking.png"
UPDATES, EVERY = 200, 20
COMMON = (
    *(f"--num_updates={UPDATES}", f"--eval_every={EVERY}", "--save_every=0", "--log_every=10", "--early_stop=null"),
    "--allow_other_fingerprint=true",  # without the end token the reward's document frequencies are others
    "--task.evaluation.beam_size=0",
    "--task.flip_rollouts=false",  # mirrored photographs prevent some of it, too
)
# What asks for trouble: the end of a caption earns nothing, nothing holds the policy back, and smoothed labels make its samples random.
BARE = (
    *("--task.policy.temperature=1.0", "--task.reward.score_end=false", "--trainer.dropout=false"),
    *("--trainer.optimiser.learning_rate=2.0e-4", "--trainer.optimiser.schedule=constant", "--trainer.optimiser.weight_decay=0.0"),
)
END = "--task.reward.score_end=true"
SETTINGS: dict[str, Sequence[str]] = {
    "CIDEr-D alone": BARE,
    "end token in the score": (*BARE, END),
    "and cross-entropy": (
        *BARE,
        END,
        "--trainer.imitation.weight=0.3",
        "--trainer.imitation.final_weight=0.3",
        "--task.captions_per_image=2",
    ),
    "and KL to the first policy": (*BARE, END),
    "and temperature 0.4": (*BARE, END, "--task.policy.temperature=0.4"),
    "the configuration": (),  # which has dropout in the update, too, and half the learning rate
}
KL_WEIGHT = 0.1
CURVES = {
    "reward/mean": "training reward",
    "dev/cider_d": "dev CIDEr-D",
    "dev/length": "words a caption",
    "dev/distinct": "share of different captions",
    "dev/bad_endings": "share broken off",
}


def make_run(folder: Path, name: str, start: Path, seed: int) -> Path:
    """Train in one of the settings, unless the run stands."""
    short = name.replace(" ", "_").replace("-", "_").lower()
    own = [f"--runs_folder={folder}", f"--name={short}_seed{seed}", f"--seed={seed}", f"--init_from={start}"]
    config = read_config(CONFIG, [*own, *COMMON, *SETTINGS[name]])
    if "KL" in name:
        config = dataclasses.replace(config, trainer=with_kl(config.trainer))
    return train_once(config)


def with_kl(trainer: Any) -> PPOConfig:
    """Give a trainer that does the same, with one step an update, and a term for leaving the first policy in its loss."""
    return PPOConfig(
        advantage="leave_one_out",
        num_samples=trainer.num_samples,
        gamma=1.0,
        epochs=1,
        minibatches=1,
        kl_coef=KL_WEIGHT,
        kl_in="loss",
        kl_estimator="k3",
        optimiser=trainer.optimiser,
    )


def curves_of(run: Path) -> dict[str, dict[str, list[float]]]:
    """Read the figures over the updates."""
    rows = read_metrics(run)
    return {
        key: {"updates": [row["step"] for row in shown], "values": [row[key] for row in shown]}
        for key in CURVES
        if (shown := [row for row in rows if row.get(key) is not None])
    }


def describe(curves: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Give where a run began, how far dev rose and how it ended."""
    reward, dev = curves["reward/mean"]["values"], curves["dev/cider_d"]
    best = max(range(len(dev["values"])), key=lambda place: dev["values"][place])
    figures = {"reward_first": reward[0], "reward_last": reward[-1], "best": dev["values"][best], "best_at": dev["updates"][best]}
    for key in ("dev/cider_d", "dev/length", "dev/distinct", "dev/bad_endings"):
        values = curves[key]["values"]
        figures |= {f"{key}_first": values[0], f"{key}_at_best": values[best], f"{key}_last": values[-1]}
    return figures


def draw(all_curves: dict[str, dict[str, dict[str, list[float]]]], path: Path) -> None:
    """Draw one panel a figure, one colour a setting."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(CURVES), 3.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, len(CURVES)).flat)
    for panel, (key, title) in zip(panels, CURVES.items(), strict=True):
        for colour, (name, curves) in zip(COLOURS, all_curves.items(), strict=False):
            panel.plot(curves[key]["updates"], curves[key]["values"], color=colour, label=name)
        panel.set_xlabel("updates")
        panel.set_title(title)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(all_curves), frameon=False)
    partial = path.with_name(f".{path.name}.partial")
    canvas.print_png(str(partial))
    os.replace(partial, path)


def main() -> None:
    """Train, read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="folder of the cross-entropy run that all start from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/reward_hacking"))
    parser.add_argument("--output", type=Path, default=RESULTS / "reward_hacking.json")
    parser.add_argument("--only", choices=list(SETTINGS), help="train in this setting only, and write nothing")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    names = [arguments.only] if arguments.only else list(SETTINGS)
    curves = {name: curves_of(make_run(arguments.folder, name, arguments.start, arguments.seed)) for name in names}
    if arguments.only:
        return
    summary = {name: describe(each) for name, each in curves.items()}
    results: dict[str, Any] = {
        "provenance": provenance([arguments.seed], threads=1),
        "updates": UPDATES,
        "summary": summary,
        "curves": curves,
    }
    write_results(arguments.output, results)
    draw(curves, FIGURE)
    for name, figures in summary.items():
        print(name, "  ".join(f"{key} {number:.3f}" for key, number in figures.items()))


if __name__ == "__main__":
    sys.exit(run_command(main, name="reward_hacking.py"))
