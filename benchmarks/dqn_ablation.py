"""Replay and target network, each switched off alone: the four cells of the ablation of Mnih et al. 2015, on a small environment.

    python benchmarks/dqn_ablation.py [--seeds 0,1,2] [--updates 320] [--rates 1e-3,2.5e-4] [--runs FOLDER] [--field.field=value ...]

Every run has the settings of configs/control/cartpole_dqn.yaml with the changes of SHARED, and nothing is tuned for any cell.
Without a replay, the minibatches come from the 32 steps just made, as many of them as with one. Without a target network,
the network is its own. As in the paper, each cell is tried with several learning rates, and the best one counts (chosen on the
same seeds). What counts is the mean greedy return over the second half of the evaluations, and the best one. One
thread. Finished runs of the same settings are not done again. The result goes to benchmarks/results/dqn_ablation.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from competitors import whole
from provenance import ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run.config import read_config
from seqrl.run.decode import encode
from seqrl.run.interrupt import run_command
from seqrl.run.log import read_metrics
from seqrl.run.train import train

RESULT = ROOT / "benchmarks" / "results" / "dqn_ablation.json"
# (replay, target network) of each cell, in the order of the paper's results.
CELLS = {
    "replay and target network": ("uniform", "hard"),
    "replay only": ("uniform", "none"),
    "target network only": ("none", "hard"),
    "neither": ("none", "none"),
}
# One environment, as in the paper: what follows each other is alike. One-step targets, and a learning rate that does not fall,
# so that nothing hides what a cell is prone to.
SHARED = [
    "--trainer.double=false",
    "--trainer.n_step=1",
    "--trainer.gamma=0.97",
    "--task.num_envs=1",
    "--task.num_steps=32",
    "--trainer.gradient_steps=16",
    "--trainer.batch_size=64",
    "--trainer.learning_starts=200",
    "--trainer.epsilon_steps=5000",
    "--trainer.epsilon_final=0.04",
    "--trainer.tau=0.005",
    "--task.reward_clip=0",
    "--task.policy.hidden_sizes=[128,128]",
    "--trainer.target_every=64",
    "--trainer.optimiser.schedule=constant",
    "--eval_every=40",
    "--save_every=0",
    "--task.num_eval_episodes=20",
    "--num_threads=1",
]
# Mnih et al. 2015, extended data table 3, highest average episode score.
PAPER = {
    "Breakout": (316.8, 240.7, 10.2, 3.2),
    "Enduro": (1006.3, 831.4, 141.9, 29.1),
    "River Raid": (7446.6, 4102.8, 2867.7, 1453.0),
    "Seaquest": (2894.4, 822.6, 1003.0, 275.8),
    "Space Invaders": (1088.9, 826.3, 373.2, 302.0),
}


def measure(cell: str, rate: float, seed: int, updates: int, runs: Path, extra: Sequence[str]) -> dict[str, Any]:
    """Do a run, or read what it gave before; give its curve of greedy returns."""
    replay, target = CELLS[cell]
    name = f"{cell.replace(' ', '_')}_rate{rate:g}_seed{seed}"
    overrides = [f"--name={name}", f"--runs_folder={runs}", f"--seed={seed}", f"--num_updates={updates}"]
    overrides += [f"--trainer.replay={replay}", f"--trainer.target_network={target}", f"--trainer.optimiser.learning_rate={rate}"]
    config = read_config(ROOT / "configs" / "control" / "cartpole_dqn.yaml", [*SHARED, *overrides, *extra])
    path, settings = runs / name / "record.json", json.loads(json.dumps(encode(config)))
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] == settings and kept["provenance"]["commit"] == provenance([])["commit"]:
            return kept
    start = time.process_time()
    whole(train(config, overwrite=True, display=False))  # broken off, or of another commit
    rows = [row for row in read_metrics(runs / name) if "dev/return_mean" in row]
    record = {
        "cell": cell,
        "learning_rate": rate,
        "seed": seed,
        "updates": [row["step"] for row in rows],
        "return_mean": [row["dev/return_mean"] for row in rows],
        "processor_s": round(time.process_time() - start, 1),
        "settings": settings,
        "provenance": provenance([seed]),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give each cell's figures at its best learning rate: of every seed, and on average over them."""
    summary: dict[str, Any] = {}
    for cell in CELLS:
        tried = []
        for rate in dict.fromkeys(record["learning_rate"] for record in records):
            curves = [record["return_mean"] for record in records if (record["cell"], record["learning_rate"]) == (cell, rate)]
            later = [round(float(np.mean(curve[len(curve) // 2 :])), 1) for curve in curves]
            best = [max(curve) for curve in curves]
            tried.append({"learning_rate": rate, "later": float(np.mean(later)), "best": float(np.mean(best)), "later_by_seed": later})
        summary[cell] = max(tried, key=lambda figures: figures["later"]) | {"all": tried}
    return summary


def table(summary: Mapping[str, Any]) -> str:
    """Lay out the cells next to the paper's."""
    heads = ["cell", "best learning rate", "return, second half", "by seed", "best evaluation", *(f"{game} (paper)" for game in PAPER)]
    rows = [heads]
    for index, (cell, numbers) in enumerate(summary.items()):
        by_seed = ", ".join(f"{value:.0f}" for value in numbers["later_by_seed"])
        paper = [f"{scores[index]:,.1f}" for scores in PAPER.values()]
        rows.append([cell, f"{numbers['learning_rate']:g}", f"{numbers['later']:.0f}", by_seed, f"{numbers['best']:.0f}", *paper])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def main() -> None:
    """Run the cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=320)
    parser.add_argument("--rates", default="1e-3,2.5e-4")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "dqn_ablation")
    parser.add_argument("--output", type=Path, default=RESULT)
    add_arguments(parser)
    known, extra = parser.parse_known_args()
    require_clean(allow_dirty=known.allow_dirty)
    seeds = [int(seed) for seed in known.seeds.split(",")]
    records = []
    for seed in seeds:
        for rate in (float(rate) for rate in known.rates.split(",")):
            for cell in CELLS:
                records.append(measure(cell, rate, seed, known.updates, known.runs, extra))
                print(f"{cell}, learning rate {rate:g}, seed {seed}: {records[-1]['return_mean']}", flush=True)
    summary = summarise(records)
    print(table(summary))
    records = [{key: value for key, value in record.items() if key != "settings"} for record in records]
    result = {"provenance": provenance(seeds), "shared": [*SHARED, *extra], "summary": summary, "paper": PAPER, "records": records}
    write_results(known.output, result)


if __name__ == "__main__":
    sys.exit(run_command(main, name="dqn_ablation.py"))
