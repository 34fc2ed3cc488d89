"""Steps of the world that Q-learning needs in the robot's room, with and without a model of it (Dyna-Q).

    python benchmarks/dyna.py --seeds 0,1,2,3,4,5,6,7,8,9

The settings of configs/gridworld/robot_dyna_q.yaml, in which `planning_steps` changes alone. After every ten steps the expected return of
the greedy policy in an episode of at most 100 steps is computed from the room's transitions. Reported: the steps after which it is,
for the first time and from then on in nine of ten looks, within 0.02 of the best possible one, and its mean over the steps.
Writes benchmarks/results/dyna.json.

Source: Sutton 1990 (Integrated architectures for learning, planning, and reacting); Russell & Norvig 2010, section 17.1, for the room.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import torch
from competitors import run_benchmark
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from tables import greedy_return

from seqrl.run.config import read_config
from seqrl.run.train import build
from seqrl.tasks.gridworld.planning import value_iteration
from seqrl.tasks.gridworld.room import CELLS, START, STATE_OF, room_model

HORIZON, EVERY, NEAR, SHARE = 100, 10, 0.02, 0.9


def run_seed(planning_steps: int, seed: int, num_steps: int) -> dict[str, Any]:
    """Learn, and give the exact return of the greedy policy on the way."""
    config = read_config("robot_dyna_q", [f"--trainer.planning_steps={planning_steps}", f"--seed={seed}", f"--num_updates={num_steps}"])
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=num_steps)
    model, first = room_model(-0.04), torch.zeros(len(CELLS), dtype=torch.float64)
    first[STATE_OF[START]] = 1.0
    best = float(value_iteration(model, tolerance=0, max_sweeps=HORIZON) @ first)
    returns, start = [], time.process_time()
    for step in range(1, num_steps + 1):
        trainer.update(trainer.collect(task))
        if step % EVERY == 0:
            returns.append(greedy_return(policy, model, first, HORIZON))
    good = [value >= best - NEAR for value in returns]
    lasting = (place for place in range(len(good)) if good[place] and sum(good[place:]) >= SHARE * len(good[place:]))
    steps = next(((place + 1) * EVERY for place in lasting), None)
    mean = sum(returns) / len(returns)
    return {"steps": steps, "mean": mean, "last": returns[-1], "best": best, "seconds": time.process_time() - start}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--planning", default="0,5,50", metavar="N,N,...")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    results: dict[str, Any] = {"steps": args.steps, "planning": {}, "provenance": provenance(seeds, threads=1)}
    for number in map(int, args.planning.split(",")):
        rows = results["planning"][number] = [run_seed(number, seed, args.steps) for seed in seeds]
        steps = ", ".join(str(row["steps"]) for row in rows)
        print(f"{number:3d} planning steps: within {NEAR} of the best after {steps}; mean {sum(r['mean'] for r in rows) / len(rows):.3f}")
    write_results(RESULTS / "dyna.json", results)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
