"""Train the on-policy agents of configs/control over several seeds: when is an environment solved, and does it stay so.

    python benchmarks/on_policy.py [--runs cartpole_trpo,cartpole_a2c] [--seeds 0,1,2] [--lags 10,20]

An environment is solved at the start of the first three evaluations in a row (100 greedy episodes each) of at least the
published score. Seconds are CPU seconds, one thread, evaluations left out. `--lags` compares V-trace with the same
actor-critic without its correction, from actors that lag behind by so many updates. What is measured is added to
benchmarks/results/on_policy.json, and the tables of all that stands there are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from competitors import whole
from provenance import RESULTS as FOLDER
from provenance import ROOT, add_arguments, provenance, require_clean, write_results
from sampling import sampling

from seqrl.distributed import data_seed
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.loop import fit

RESULTS = FOLDER / "on_policy.json"
SOLVED = {"CartPole-v1": 475.0, "Acrobot-v1": -100.0, "LunarLander-v3": 200.0, "Pendulum-v1": -200.0}
RUNS = "cartpole_trpo,cartpole_a2c,cartpole_vtrace,cartpole_off_policy,acrobot_ppo,acrobot_trpo,acrobot_a2c,pendulum_trpo,lunar_lander_ppo"


class Curve:
    """Takes down the evaluations beside the environment steps and the CPU time in training."""

    def __init__(self, task: Any) -> None:
        self.points: list[tuple[int, float, float]] = []
        self._evaluate, self._start, self._aside = task.evaluate, time.process_time(), 0.0
        task.evaluate = self.evaluate

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        start = time.process_time()
        figures = self._evaluate(*arguments, **settings)
        self._aside += time.process_time() - start
        return figures

    def write(self, step: int, figures: Any) -> None:
        if "dev/return_mean" in figures:
            seconds = time.process_time() - self._start - self._aside
            self.points.append((int(figures["progress/num_env_steps"]), round(seconds, 2), round(figures["dev/return_mean"], 2)))

    def close(self) -> None:
        pass


def run(name: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train once; give the curve and, of all runs with the same settings, the solved point."""
    config = read_config(ROOT / "configs" / "control" / f"{name}.yaml", [f"--seed={seed}", *overrides])
    torch.manual_seed(seed)
    task = config.task.build(data_seed(seed))
    trainer = config.trainer.build(task.build_policy(), seed=seed, num_updates=config.num_updates)
    curve = Curve(task)
    whole(fit(trainer, task, num_updates=config.num_updates, eval_every=config.eval_every, log_every=config.num_updates, writers=[curve]))
    figures = task.evaluate(trainer.policy, split="test")
    sampled = None
    if hasattr(trainer.policy, "actor"):
        with sampling(trainer.policy):
            sampled = task.evaluate(trainer.policy, split="test")["return_mean"]
    solved = solved_at(curve.points, SOLVED[config.task.environment])
    after = [] if solved is None else [point[2] for point in curve.points if point[0] >= solved[0]]
    return {
        "environment": config.task.environment,
        "seed": seed,
        "solved_steps": solved and solved[0],
        "solved_seconds": solved and solved[1],
        "share_solved_after": statistics.fmean(value >= SOLVED[config.task.environment] for value in after) if after else None,
        "final_return": round(figures["return_mean"], 2),
        "sampled_return": sampled and round(sampled, 2),
        "mean_of_curve": round(statistics.fmean(point[2] for point in curve.points[1:]), 2),
        "num_steps": curve.points[-1][0],
        "num_seconds": curve.points[-1][1],
        "curve": curve.points,
        "provenance": provenance([seed]),
    }


def solved_at(points: list[tuple[int, float, float]], score: float) -> tuple[int, float, float] | None:
    """The first of three evaluations in a row that reach the score."""
    for first, second, third in zip(points, points[1:], points[2:], strict=False):
        if min(first[2], second[2], third[2]) >= score:
            return first
    return None


def spread(numbers: list[Any]) -> str:
    """Mean and range; how many of the runs have the figure where some have not."""
    there = [number for number in numbers if number is not None]
    if not there:
        return "never"
    digits = 0 if max(abs(number) for number in there) >= 100 else 1
    text = f"{statistics.fmean(there):,.{digits}f} ({min(there):,.{digits}f} to {max(there):,.{digits}f})"
    return text if len(there) == len(numbers) else f"{text}, {len(there)} of {len(numbers)} seeds"


def print_tables(results: dict[str, Any]) -> None:
    """Print what docs/results.md shows."""
    print(
        "| environment | config | solved after steps | seconds | share solved from then on | return of 100 greedy test episodes | sampled |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, runs in results["runs"].items():
        columns = [
            [run[key] for run in runs] for key in ("solved_steps", "solved_seconds", "share_solved_after", "final_return", "sampled_return")
        ]
        print(f"| {runs[0]['environment']} | `{name}.yaml` | {' | '.join(spread(column) for column in columns)} |")
    if results.get("lags"):
        print("\n| lag (updates) | V-trace: mean of the curve | final | without correction: mean of the curve | final |")
        print("|---|---|---|---|---|")
        for lag, pair in results["lags"].items():
            columns = [[run[key] for run in pair[kind]] for kind in ("true", "false") for key in ("mean_of_curve", "final_return")]
            print(f"| {lag} | {' | '.join(spread(column) for column in columns)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default=RUNS, help="configurations, without .yaml; empty for none")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--lags", default="", help="updates by which actors lag behind, such as 10,20; empty for none")
    parser.add_argument("overrides", nargs="*", help="changes of the configurations, after --")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}, "lags": {}}
    for name in filter(None, arguments.runs.split(",")):
        results["runs"][name] = [run(name, seed, arguments.overrides) for seed in seeds]
        save(results)
    for lag in filter(None, arguments.lags.split(",")):
        results["lags"][lag] = {
            corrected: [
                run("cartpole_vtrace", seed, [f"--trainer.actor_lag={lag}", f"--trainer.corrected={corrected}", *arguments.overrides])
                for seed in seeds
            ]
            for corrected in ("true", "false")
        }
        save(results)
    print_tables(results)


def save(results: dict[str, Any]) -> None:
    """Write what has been measured so far."""
    write_results(RESULTS, results)


if __name__ == "__main__":
    sys.exit(run_command(main, name="on_policy.py"))
