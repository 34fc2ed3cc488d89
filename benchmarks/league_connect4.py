"""A league, naive self-play and a league with a supervised start at Connect-4, games being equal, and what a best response wins.

    python benchmarks/league_connect4.py [--seeds 0,1,2] [--runs FOLDER]

Does what `seqrl train connect4_league` does, one thread; naive self-play is the same league of one learner that plays itself, with four
times as many updates of a quarter of the games. Exploitability cannot be had exactly here: it is approximated, from below, by the chance of
winning of a best response, which begins with the main agent's own weights and learns against it by PPO for a fixed number of games. Writes
benchmarks/results/league_connect4.json: for each method and seed that chance, those of the main agent against players by rules, and CPU
seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from competitors import run_benchmark, whole
from league import LEARNERS, METHODS, NAIVE, trained
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.loop import fit
from seqrl.run.train import load
from seqrl.tasks.boards.duels import BoardDuelTask, chance

NAME = "connect4_league"
BEST_RESPONSE_UPDATES, NUM_TEST_GAMES = 60, 1000


def main() -> None:
    """Train, answer and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "league_connect4")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "methods": {method: {} for method in METHODS}, "supervised": {}}
    folder, config = args.runs / str(report["provenance"]["commit"])[:10], read_config(NAME, [])
    naive = [f"--num_updates={LEARNERS * config.num_updates}", f"--eval_every={LEARNERS * config.eval_every}"]
    naive += [f"--trainer.{change}" for change in (*NAIVE[:-1], "keep_min_updates=32", "keep_max_updates=32")]
    for seed in seeds:
        begin = trained("connect4_supervised", f"supervised_{seed}", seed, [], folder)
        report["supervised"][seed] = dev(begin)
        for method in METHODS:
            changes = {"naive": naive, "league_supervised": [f"--init_from={begin}"]}.get(method, [])
            start = time.process_time()
            run = trained(NAME, f"{method}_{seed}", seed, changes, folder)
            record = dev(run) | {"processor_s": time.process_time() - start, "best_response": best_response(run, seed)}
            report["methods"][method][seed] = record
            write_results(RESULTS / "league_connect4.json", report)
            print(f"{method}, seed {seed}: {record}", flush=True)


def dev(run: Path) -> dict[str, float]:
    """Give the last evaluation of a run, and the games until then."""
    last = [row for row in read_metrics(run) if "dev/chance_tactician" in row][-1]
    names = ("dev/chance_anything", "dev/chance_tactician", "progress/num_samples")
    return {name.partition("/")[2]: last[name] for name in names}


def best_response(run: Path, seed: int) -> dict[str, float]:
    """Teach a best response to a run's main agent; give its chance of winning, and its games."""
    config, _, policy, _ = load(run, prefer_best=False)
    task = BoardDuelTask(config.task, seed=seed, opponent=deepcopy(policy).requires_grad_(False))  # type: ignore[arg-type]
    trainer = config.trainer.ppo.build(policy, seed=seed + 100, num_updates=BEST_RESPONSE_UPDATES)  # type: ignore[attr-defined]
    whole(fit(trainer, task, num_updates=BEST_RESPONSE_UPDATES, log_every=BEST_RESPONSE_UPDATES))
    assert task.opponent is not None
    rows = task.duel(policy, task.opponent, num_games=NUM_TEST_GAMES, generator=torch.Generator().manual_seed(seed))
    return {"chance": chance(rows), "games": BEST_RESPONSE_UPDATES * config.task.num_games}  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
