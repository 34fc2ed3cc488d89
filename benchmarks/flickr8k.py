"""Flickr8k photographs from scratch: cross-entropy, self-critical, and a control that goes on with cross-entropy as long.

SEQRL_DATA=/folder/of/data python benchmarks/flickr8k.py --seeds 0,1,2

Runs that are already finished under --folder are evaluated as they are. Writes benchmarks/results/flickr8k.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competitors import train_once, updates_in_the_same_time
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.run.checkpoint import step_folders
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.statistics import bootstrap_interval
from seqrl.run.train import load, read_run

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "captioning"
STAGES = ("xe", "control", "sc")
FIGURES = ("cider_d", "bleu4", "rouge_l", "length", "bad_endings", "distinct")


def make_run(folder: Path, name: str, config: str, seed: int, *changes: str) -> Path:
    """Train unless the run stands, to its end."""
    own = [f"--runs_folder={folder}", f"--name={name}_seed{seed}", f"--seed={seed + 100 * (name == 'control')}"]
    own += ["--trainer.optimiser.precision=fp32"]
    return train_once(read_config(CONFIGS / config, [*own, *changes]))


def train_seed(folder: Path, seed: int) -> dict[str, Path]:
    """Do the three stages of a seed."""
    runs = {"xe": make_run(folder, "xe", "flickr8k_xe.yaml", seed)}
    warm = f"--init_from={runs['xe']}"
    runs["sc"] = make_run(folder, "sc", "flickr8k_self_critical.yaml", seed, warm)
    runs["control"] = folder / f"control_seed{seed}"
    if step_folders(runs["control"]):  # its length was measured when it was begun
        train_once(read_run(runs["control"]))
        return runs
    configs = (read_config(CONFIGS / f"flickr8k_{name}.yaml", [warm]) for name in ("self_critical", "xe"))
    more = updates_in_the_same_time(*configs, rounds=6)
    changes = (
        f"--num_updates={more}",
        "--eval_every=200",
        "--trainer.optimiser.learning_rate=2.5e-4",
        "--trainer.optimiser.warmup_updates=0",
    )
    runs["control"] = make_run(folder, "control", "flickr8k_xe.yaml", seed, warm, *changes)
    return runs


def evaluate(run: Path, split: str) -> dict[str, float]:
    """Score the best checkpoint on a split, greedily and with a beam of 3."""
    _, task, policy, _ = load(run, ["--task.evaluation.beam_size=3", "--task.evaluation.length_penalty=0.7", "--num_threads=1"])
    return task.evaluate(policy, split=split)


def summarise(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean over the seeds with a 95% bootstrap interval, for each figure."""
    summary = {}
    for key in [*FIGURES, *(f"beam/{name}" for name in FIGURES)]:
        values = [row[key] for row in rows]
        low, high = bootstrap_interval(values, generator=np.random.default_rng(0))
        summary[key] = {"mean": sum(values) / len(values), "low": float(low), "high": float(high)}
    return summary


def main() -> None:
    """Train, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folder", type=Path, default=Path("runs/flickr"))
    parser.add_argument("--output", type=Path, default=RESULTS / "flickr8k.json")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    results: dict[str, Any] = {"provenance": provenance(seeds), "updates": {}}
    figures: dict[str, dict[str, list[dict[str, float]]]] = {split: {stage: [] for stage in STAGES} for split in ("dev", "test")}
    for seed in seeds:
        runs = train_seed(arguments.folder, seed)
        results["updates"][seed] = {stage: read_config(run / "config.yaml").num_updates for stage, run in runs.items()}
        for split, stages in figures.items():
            for stage in STAGES:
                stages[stage].append(evaluate(runs[stage], split))
    results["figures"] = figures
    results["summary"] = {split: {stage: summarise(rows) for stage, rows in stages.items()} for split, stages in figures.items()}
    write_results(arguments.output, results)
    for split, stages in results["summary"].items():
        print(f"\n{split}, {len(seeds)} seeds: mean [95% interval]")
        for key in ("cider_d", "beam/cider_d", "bleu4", "beam/bleu4", "bad_endings", "beam/bad_endings", "distinct"):
            cells = [f"{stage} {row[key]['mean']:.4f} [{row[key]['low']:.4f}, {row[key]['high']:.4f}]" for stage, row in stages.items()]
            print(f"  {key:18}", "   ".join(cells))


if __name__ == "__main__":
    sys.exit(run_command(main, name="flickr8k.py"))
