"""Explore a chain, a grid with a key and a door, and a valley with a car, with a bonus for what is new and without one.

    python benchmarks/exploration.py [--seeds 0,1,2] [--names chain_q_counts]

Trains each configuration of configs/exploration as it stands, and once more with `trainer.bonus.type=none`, which leaves chance actions
(ε-greedy, or those of a policy with an entropy bonus). Counts the states that the agent has seen, the steps until the greedy return is the
best possible one for the first time, and that return at the end. Of the car, whose best return is not known, it counts the cells of
position and speed that were seen, and the steps until the greedy return is GOOD or more and stays so. Writes what was measured into
benchmarks/results/exploration.json, beside what stands there of other names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from competitors import run_benchmark
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from torch import Tensor

from seqrl.run.config import read_config
from seqrl.run.train import build

# The best return, and how many states can be reached.
BEST = {"chain": 12.0, "key_door": 1.0}
STATES = {"chain": 50, "key_door": 145}
# A greedy return that the car has to keep: a policy that was never at the top may swing up to it for a while, greedily and by luck.
GOOD = {"mountain_car": -160.0}
# Positions and speeds of the car lie between these; each is cut into so many parts.
CAR, PARTS = ((-1.2, 0.6), (-0.07, 0.07)), 20
NAMES = (
    *("chain_q_counts", "chain_ppo_distillation", "key_door_q_counts", "key_door_ppo_counts", "key_door_ppo_distillation"),
    "mountain_car_ppo_pseudo_counts",
)
# Without its bonus it is what key_door_ppo_counts is without one.
NOT_ALONE = ("key_door_ppo_distillation",)


def run_seed(name: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train once, and take down what was seen."""
    config = read_config(f"exploration/{name}", [f"--seed={seed}", *overrides])
    torch.manual_seed(seed)
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=config.num_updates)
    world = next(world for world in (*BEST, *GOOD) if name.startswith(world))
    seen: set[int] = set()
    curve, earned, start, aside = [], 0.0, time.process_time(), 0.0
    for update in range(1, config.num_updates + 1):
        rows = trainer.collect(task)
        seen |= set((cells(rows.obs) if world in GOOD else rows.obs).flatten().tolist())
        earned += float(rows.reward.sum())
        trainer.update(rows)
        if update % config.eval_every == 0:
            begin = time.process_time()
            steps = update * config.task.num_envs * config.task.num_steps
            curve.append([steps, task.evaluate(policy)["return_mean"], len(seen)])
            aside += time.process_time() - begin
    if world in GOOD:
        late = max((steps for steps, value, _ in curve if value < GOOD[world]), default=0)
        best = next((steps for steps, _, _ in curve if steps > late), None)
    else:
        best = next((steps for steps, value, _ in curve if value >= BEST[world] - 1e-6), None)
    seconds = time.process_time() - start - aside
    return {"return": curve[-1][1], "states": len(seen), "best_after": best, "earned": earned, "seconds": seconds, "curve": curve}


def cells(obs: Tensor) -> Tensor:
    """Give the cell of each position and speed, [..., 2], as a number below PARTS²."""
    low, high = torch.tensor(CAR).unbind(dim=1)
    parts = ((obs - low) / (high - low) * PARTS).floor().clamp(0, PARTS - 1).long()
    return parts[..., 0] * PARTS + parts[..., 1]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--output", type=Path, default=RESULTS / "exploration.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    results: dict[str, Any] = json.loads(args.output.read_text(encoding="utf-8")) if args.output.is_file() else {"runs": {}}
    results |= {"states": STATES, "cells": PARTS**2, "good": GOOD}
    for name in args.names:
        results["runs"][name] = {"provenance": provenance(seeds, threads=1)}
        plain = [] if name in NOT_ALONE else [("none", ["--trainer.bonus.type=none"])]
        for kind, overrides in [*plain, ("bonus", [])]:
            rows = [run_seed(name, seed, overrides) for seed in seeds]
            results["runs"][name][kind] = rows
            found = "; ".join(f"{row['return']:.3g}, {row['states']} states, best after {row['best_after']}" for row in rows)
            print(f"{name} {kind}: {found}; {sum(row['seconds'] for row in rows):.0f} CPU seconds", flush=True)
            write_results(args.output, results)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
