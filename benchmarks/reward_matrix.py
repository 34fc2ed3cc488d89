"""What optimising each metric does to all of them: self-critical training on Flickr8k's photographs with one reward after the other.

    SEQRL_DATA=/folder/of/data python benchmarks/reward_matrix.py --starts runs/flickr_features --seeds 0,1,2

Every run starts from its seed's cross-entropy run, `xe_seed0` and so on under --starts, which benchmarks/flickr8k_features.py makes, and
has the same configuration and number of updates; its last weights count, so that nothing is chosen. Captions of the test half are written
greedily and by one beam search, the same for all, and scored with every metric. Runs that are finished under --folder are read as they
are, so that they may be made side by side with --train-only and --rewards. Writes benchmarks/results/reward_matrix.json, and the heat map
docs/figures/reward_matrix.png.

Source: Liu et al. 2017 (Improved image captioning via policy gradient optimization of SPIDEr), where each metric is optimised and all are
reported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competitors import train_once
from flickr8k_features import Beam, Scored
from numpy.typing import NDArray
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.tasks.captioning.evaluation import score_captions
from seqrl.tasks.writing.decoded import Decoded

CONFIG = ROOT / "configs" / "captioning" / "flickr8k_features_self_critical.yaml"
FIGURE = ROOT / "docs" / "figures" / "reward_matrix.png"
START = "cross-entropy"
# SPICE's deviation over samples is a sixth of CIDEr-D's, so that both have a say in the mix; SPIDEr weighs them alike.
REWARDS: dict[str, dict[str, float]] = {
    "cider_d": {"cider_d": 1.0},
    "bleu4": {"bleu4": 1.0},
    "rouge_l": {"rouge_l": 1.0},
    "meteor": {"meteor": 1.0},
    "spice": {"spice": 1.0},
    "spider": {"spider": 1.0},
    "cider_d+spice": {"cider_d": 1.0, "spice": 4.0},
}
METRICS = ("cider_d", "bleu4", "rouge_l", "meteor", "spice", "spider")
ASIDE = ("length", "bad_endings", "distinct", "vocabulary")
TITLES = {"cider_d": "CIDEr-D", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "meteor": "METEOR", "spice": "SPICE", "spider": "SPIDEr"}
UPDATES = 200
# Cross-entropy's, so that the beams are not at their best for the others; greedy captions have no such setting.
BEAM = Beam(temperature=1.0, length_penalty=1.0)
WAYS: dict[str, Beam | None] = {"greedy": None, "beam": BEAM}
EXAMPLES = 5
FIXED = ("--eval_every=0", "--save_every=100", "--early_stop=null", "--task.evaluation.beam_size=0")


def make_run(folder: Path, reward: str, start: Path, seed: int, updates: int) -> Path:
    """Train for one reward, unless the run stands."""
    own = [f"--runs_folder={folder}", f"--name={reward}_seed{seed}", f"--seed={seed}", f"--init_from={start}", f"--num_updates={updates}"]
    return train_once(read_config(CONFIG, [*own, *FIXED, weights_of(reward)]))


def weights_of(reward: str) -> str:
    """Give the setting that rewards it alone."""
    # CIDEr-D is the default and would stay in the mix.
    return f"--task.reward.metrics={json.dumps({'cider_d': 0.0} | REWARDS[reward])}"


def score_run(run: Path, metrics: Sequence[str], *, best: bool) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Caption test in each way; give all figures, and the captions of images that lie evenly apart.

    Args:
        run: its folder.
        metrics: to report.
        best: take the best checkpoint, as self-critical training did, and not the last.
    """
    scored = Scored(run, best=best)
    test, figures, examples = scored.task.data.test, {}, {}
    shown = range(0, len(test), len(test) // EXAMPLES)
    for way, beam in WAYS.items():
        captions: list[Decoded] = scored.captions("test", beam)
        found = score_captions(captions, test, metrics)
        figures[way] = {name: found[name] for name in (*metrics, *ASIDE)}
        examples[way] = [" ".join(captions[item][0]) for item in shown][:EXAMPLES]
    return figures, examples


def mean_of_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, lowest and highest of the seeds for each figure."""
    return {
        key: {
            "mean": float(np.mean([row[key] for row in rows])),
            "low": min(row[key] for row in rows),
            "high": max(row[key] for row in rows),
        }
        for key in rows[0]
    }


def title_of(reward: str) -> str:
    """Name a reward or a metric as papers do."""
    return " + ".join(TITLES.get(part, part) for part in reward.split("+"))


Summary = Mapping[str, Mapping[str, Mapping[str, float]]]  # reward -> figure -> mean, low, high


def changes(summary: Summary, metrics: Sequence[str]) -> NDArray[np.float64]:
    """How far each reward (rows) moved each metric (columns) from cross-entropy, as a share of it."""
    start = summary[START]
    rewards = [figures for name, figures in summary.items() if name != START]
    return np.array([[figures[metric]["mean"] / start[metric]["mean"] - 1 for metric in metrics] for figures in rewards])


def cells(summary: Summary, metrics: Sequence[str]) -> list[list[str]]:
    """Write each figure and its change."""
    rows = [figures for name, figures in summary.items() if name != START]
    return [
        [f"{figures[metric]['mean']:.3f}\n{100 * change:+.1f}%" for metric, change in zip(metrics, moved, strict=True)]
        for figures, moved in zip(rows, changes(summary, metrics), strict=True)
    ]


def draw(summary: Mapping[str, Summary], metrics: Sequence[str], path: Path) -> None:
    """Draw a panel a way of writing captions: figures, changes from cross-entropy, and by colour these beside their column's greatest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rewards = [name for name in next(iter(summary.values())) if name != START]
    figure = Figure(figsize=(1.0 + 0.95 * len(metrics) * len(summary), 1.3 + 0.55 * len(rewards)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(summary), squeeze=False, sharey=True)[0]
    for panel, (way, of_way) in zip(panels, summary.items(), strict=True):
        change = changes(of_way, metrics)
        panel.imshow(change / np.maximum(np.abs(change).max(axis=0), 0.02), cmap="RdBu", vmin=-2, vmax=2, aspect="auto")
        for row, texts in enumerate(cells(of_way, metrics)):
            for column, text in enumerate(texts):
                panel.text(column, row, text, ha="center", va="center", fontsize=8)
        panel.set_xticks(
            range(len(metrics)), [f"{title_of(metric)}\n({of_way[START][metric]['mean']:.3f})" for metric in metrics], fontsize=9
        )
        panel.xaxis.tick_top()
        panel.set_xlabel(f"{way}: metric on test (of cross-entropy)")
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0)
    panels[0].set_yticks(range(len(rewards)), [title_of(reward) for reward in rewards])
    panels[0].set_ylabel("reward")
    partial = path.with_name(f".{path.name}.partial")
    canvas.print_png(str(partial))
    os.replace(partial, path)


def main() -> None:
    """Train, score, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=Path, default=Path("runs/flickr_features"), help="folder of the cross-entropy runs")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rewards", default=",".join(REWARDS))
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--folder", type=Path, default=Path("runs/reward_matrix"))
    parser.add_argument("--output", type=Path, default=RESULTS / "reward_matrix.json")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--train-only", action="store_true", help="write no results")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds, rewards, metrics = ([part for part in given.split(",")] for given in (arguments.seeds, arguments.rewards, arguments.metrics))
    if unknown := [reward for reward in rewards if reward not in REWARDS]:
        raise SystemExit(f"rewards: expected some of {', '.join(REWARDS)}, got {', '.join(unknown)}")
    runs: dict[str, list[Path]] = {START: [arguments.starts / f"xe_seed{seed}" for seed in seeds]}
    for reward in rewards:
        starts = zip(seeds, runs[START], strict=True)
        runs[reward] = [make_run(arguments.folder, reward, start, int(seed), arguments.updates) for seed, start in starts]
    if arguments.train_only:
        return
    figures: dict[str, dict[str, list[dict[str, float]]]] = {way: {} for way in WAYS}
    examples: dict[str, dict[str, list[str]]] = {}
    for reward, of_seeds in runs.items():
        scored = [score_run(run, metrics, best=reward == START) for run in of_seeds]
        examples[reward] = scored[0][1]
        for way, rows in figures.items():
            rows[reward] = [each[way] for each, _ in scored]
        print(reward, "  ".join(f"{key} {cell['mean']:.4f}" for key, cell in mean_of_seeds(figures["greedy"][reward]).items()), flush=True)
    summary = {way: {reward: mean_of_seeds(of_seeds) for reward, of_seeds in rows.items()} for way, rows in figures.items()}
    results: dict[str, Any] = {
        "provenance": provenance([int(seed) for seed in seeds]),
        "updates": arguments.updates,
        "weights": {reward: REWARDS[reward] for reward in rewards},
        "metrics": metrics,
        "summary": summary,
        "figures": figures,
        "examples": examples,
    }
    write_results(arguments.output, results)
    draw(summary, metrics, arguments.figure)


if __name__ == "__main__":
    sys.exit(run_command(main, name="reward_matrix.py"))
