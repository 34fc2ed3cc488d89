"""Flickr8k with frozen eyes: cross-entropy, self-critical from there, and a control that goes on with cross-entropy as long.

    SEQRL_DATA=/folder/of/data python benchmarks/flickr8k_features.py --seeds 0,1,2

Runs that are already finished under --folder are evaluated as they are, so that seeds may be trained side by side with --train-only=xe,sc.
Temperature and length penalty of the beam search are chosen on dev: for cross-entropy those of the best CIDEr-D; for the other stages
the best CIDEr-D among those whose captions are as long as cross-entropy's, to LENGTH_WITHIN, so that no gain is bought with short captions,
and of which as many are different, where there are such. Test is scored once. Writes benchmarks/results/flickr8k_features.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competitors import train_once, updates_in_the_same_time
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.run.checkpoint import step_folders
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.train import load, read_run
from seqrl.tasks.captioning.evaluation import cider_d_of, greedy_captions, score_captions
from seqrl.tasks.writing.decoded import Decoded, batches_of, beam_texts

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "captioning"
STAGES = ("xe", "control", "sc")
FIGURES = ("cider_d", "bleu4", "rouge_l", "length", "bad_endings", "distinct", "vocabulary")
BEAM_SIZE = 5
LENGTH_PENALTIES = (0.7, 1.0, 1.5, 2.0, 2.5, 3.0)
LENGTH_WITHIN = 0.025
RESAMPLES = 10_000


def make_run(folder: Path, name: str, config: str, seed: int, *changes: str) -> Path:
    """Train unless the run stands, to its end."""
    own = [f"--runs_folder={folder}", f"--name={name}_seed{seed}", f"--seed={seed + 100 * (name == 'control')}"]
    return train_once(read_config(CONFIGS / config, [*own, *changes]))


def train_seed(folder: Path, seed: int, changes: list[str], stages: list[str]) -> dict[str, Path]:
    """Do the stages of a seed, or some of them."""
    runs = {"xe": make_run(folder, "xe", "flickr8k_features_xe.yaml", seed, *changes)}
    warm = f"--init_from={runs['xe']}"
    if "sc" in stages:
        runs["sc"] = make_run(folder, "sc", "flickr8k_features_self_critical.yaml", seed, warm, *changes)
    if "control" not in stages:  # which needs self-critical training's
        return runs
    runs["control"] = folder / f"control_seed{seed}"
    if step_folders(runs["control"]):  # its length was measured when it was begun
        train_once(read_run(runs["control"]))
        return runs
    # With the dtype that each of them chose.
    more = updates_in_the_same_time(read_run(runs["sc"]), read_run(runs["xe"]), rounds=5)
    learning_rate = read_config(CONFIGS / "flickr8k_features_xe.yaml").trainer.optimiser.learning_rate / 4
    own = (f"--num_updates={more}", f"--trainer.optimiser.learning_rate={learning_rate}", "--trainer.optimiser.warmup_updates=0")
    runs["control"] = make_run(folder, "control", "flickr8k_features_xe.yaml", seed, warm, *own, *changes)
    return runs


@dataclass(frozen=True)
class Beam:
    """How a beam search divides: the logits by the temperature, a caption's log-probability by its length's power."""

    temperature: float
    length_penalty: float

    def __str__(self) -> str:
        """Name it in a file of results."""
        return f"temperature {self.temperature}, length penalty {self.length_penalty}"


class Scored:
    """A run's best checkpoint, or its last, which captions and scores a split in one of several ways."""

    def __init__(self, run: Path, *, best: bool = True) -> None:
        _, self.task, self.policy, _ = load(run, ["--num_threads=1"], prefer_best=best)

    @property
    def beams(self) -> list[Beam]:
        """The ways of searching that are tried: at the temperature of sampling, and at one."""
        temperatures = sorted({float(self.policy.temperature), 1.0})
        return [Beam(temperature, penalty) for temperature in temperatures for penalty in LENGTH_PENALTIES]

    def captions(self, split: str, beam: Beam | None) -> list[Decoded]:
        """Caption a split, greedily where there is no beam."""
        part, task = getattr(self.task.data, split), self.task
        if beam is None:
            return greedy_captions(self.policy, part, task.vocabulary, task.config.evaluation, len(part))
        batches = batches_of(len(part), task.config.evaluation.images_per_batch)
        how = {"beam_size": BEAM_SIZE, "length_penalty": beam.length_penalty, "temperature": beam.temperature}
        return beam_texts(self.policy, part.rows, batches, task.vocabulary, **how)

    def score(self, split: str, beam: Beam | None) -> tuple[dict[str, float], list[float]]:
        """Give the figures of a split and each caption's CIDEr-D."""
        captions, part = self.captions(split, beam), getattr(self.task.data, split)
        figures = score_captions(captions, part)
        return {name: figures[name] for name in FIGURES}, cider_d_of(captions, part)


def mean_figures(scored: Sequence[Scored], beam: Beam) -> dict[str, float]:
    """Average the figures of dev over the seeds."""
    rows = [each.score("dev", beam)[0] for each in scored]
    return {key: float(np.mean([row[key] for row in rows])) for key in FIGURES}


def choose_beam(means: Mapping[Beam, Mapping[str, float]], start: Mapping[str, float] | None) -> Beam:
    """Choose how to search by the mean figures of dev.

    Args:
        means: of each way of searching.
        start: figures of cross-entropy that length and variety are to match; None to match nothing.
    """
    allowed = list(means)
    if start is not None:
        as_long = [beam for beam in means if abs(means[beam]["length"] / start["length"] - 1) <= LENGTH_WITHIN]
        as_varied = [beam for beam in as_long if means[beam]["distinct"] >= start["distinct"]]
        nearest = min(means, key=lambda beam: abs(means[beam]["length"] - start["length"]))
        allowed = as_varied or as_long or [nearest]
    return max(allowed, key=lambda beam: means[beam]["cider_d"])


def bootstrap_difference(better: list[float], worse: list[float]) -> dict[str, float]:
    """Mean difference of paired scores with its 95% percentile interval over resampled images, and the share of resamples above 0."""
    difference = np.asarray(better) - np.asarray(worse)
    generator = np.random.default_rng(0)
    means = difference[generator.integers(len(difference), size=(RESAMPLES, len(difference)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(difference.mean()), "low": float(low), "high": float(high), "above_zero": float((means > 0).mean())}


def evaluate(runs: dict[int, dict[str, Path]]) -> dict[str, Any]:
    """Score all stages and seeds, and compare stages image by image."""
    results: dict[str, Any] = {"beam": {}, "dev_by_beam": {}, "figures": {"dev": {}, "test": {}}, "compared": {}}
    each_caption: dict[tuple[str, str], list[list[float]]] = {}
    start = None
    for stage in STAGES:
        scored = [Scored(of_seed[stage]) for of_seed in runs.values()]
        means = {beam: mean_figures(scored, beam) for beam in scored[0].beams}
        beam = choose_beam(means, start)
        start = means[beam] if start is None else start
        results["beam"][stage], results["dev_by_beam"][stage] = asdict(beam), {str(tried): row for tried, row in means.items()}
        print(stage, beam, means[beam], flush=True)
        for split, stages in results["figures"].items():
            for way in ("greedy", "beam"):
                pairs = [each.score(split, beam if way == "beam" else None) for each in scored]
                stages.setdefault(stage, {})[way] = [figures for figures, _ in pairs]
                if split == "test":
                    each_caption[stage, way] = [scores for _, scores in pairs]
    for way in ("greedy", "beam"):
        for stage in ("sc", "control"):
            pairs_of_seeds = zip(each_caption[stage, way], each_caption["xe", way], strict=True)
            results["compared"][f"{stage} - xe, {way}"] = [bootstrap_difference(*pair) for pair in pairs_of_seeds]
    return results


def summarise(figures: dict[str, Any]) -> dict[str, Any]:
    """Mean, lowest and highest of the seeds for each figure."""

    def spread(rows: list[dict[str, float]], key: str) -> dict[str, float]:
        values = [row[key] for row in rows]
        return {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}

    return {
        split: {stage: {way: {key: spread(rows, key) for key in FIGURES} for way, rows in ways.items()} for stage, ways in stages.items()}
        for split, stages in figures.items()
    }


def show(results: dict[str, Any]) -> None:
    """Print the means, and the differences with their intervals."""
    for split, stages in results["summary"].items():
        for stage, ways in stages.items():
            for way, row in ways.items():
                print(f"{split:5}{stage:8}{way:7}", "  ".join(f"{key} {row[key]['mean']:.4f}" for key in FIGURES))
    for name, seeds in results["compared"].items():
        print(name, "  ".join(f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" for row in seeds))


def main() -> None:
    """Train, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folder", type=Path, default=Path("runs/flickr_features"))
    parser.add_argument("--output", type=Path, default=RESULTS / "flickr8k_features.json")
    parser.add_argument("--train-only", default="", metavar="STAGES", help="train these stages (of xe,sc,control) and write no results")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a setting of all runs")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    changes = [f"--{change}" for change in arguments.set]
    stages = arguments.train_only.split(",") if arguments.train_only else list(STAGES)
    runs = {seed: train_seed(arguments.folder, seed, changes, stages) for seed in seeds}
    if arguments.train_only:
        return
    updates = {
        seed: {stage: read_config(run / "config.yaml").num_updates for stage, run in of_seed.items()} for seed, of_seed in runs.items()
    }
    results = {"provenance": provenance(seeds), "updates": updates} | evaluate(runs)
    results["summary"] = summarise(results["figures"])
    write_results(arguments.output, results)
    show(results)


if __name__ == "__main__":
    sys.exit(run_command(main, name="flickr8k_features.py"))
