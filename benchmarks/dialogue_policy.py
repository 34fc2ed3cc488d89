"""Dialogue policies: reinforcement learning beside a hand-crafted policy under misunderstandings, and beside a published learning curve.

python benchmarks/dialogue_policy.py restaurants --trainers ppo,dqn,a2c,reinforce --error-rates 0,0.15,0.3 --seeds 0,1,2
SEQRL_DATA=folder python benchmarks/dialogue_policy.py movies --trainers dqn,ppo --seeds 0,1,2

restaurants: trains configs/dialog/restaurant_<trainer>.yaml at each error rate, searches the thresholds of the hand-crafted policy on 1,000
other dialogs at that rate, and plays the same 1,000 test dialogs about goals not trained with. Success, turns of the system and reward,
each with a 95% interval over dialogs.
movies: trains configs/dialog/movie_booking_<trainer>.yaml and prints the success of each evaluation beside the published agent's after
as many dialogs.
Writes benchmarks/results/dialogue_<what>.json; runs lie in runs/dialogue_policy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import whole
from numpy.typing import NDArray
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.policies import evaluation_mode
from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.run.log import read_metrics
from seqrl.run.train import load, train
from seqrl.tasks.dialog.handcrafted import Outcome, play_dialogs, search_thresholds
from seqrl.tasks.dialog.restaurant_data import restaurant_data
from seqrl.tasks.paths import expanded

DEV_SEED, TEST_SEED = 11, 12
EPOCH = 100  # dialogs of an epoch of the published curve


def main() -> None:
    """Measure what the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("restaurants", "movies"))
    parser.add_argument("--trainers", help="with commas; dqn,ppo for movies and all four for restaurants by default")
    parser.add_argument("--error-rates", default="0,0.15,0.3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--dialogs", type=int, default=1000, help="of a test, and of the search")
    parser.add_argument("--steps", type=int, help="updates of each run; the configuration's by default")
    parser.add_argument("--runs-folder", type=Path, default=ROOT / "runs" / "dialogue_policy")
    parser.add_argument("--output", type=Path, help="file to write; the one named above by default")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    trainers = (args.trainers or {"movies": "dqn,ppo", "restaurants": "ppo,dqn,a2c,reinforce"}[args.what]).split(",")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    measured = measure_movies(args, trainers, seeds) if args.what == "movies" else measure_restaurants(args, trainers, seeds)
    write_results(args.output or RESULTS / f"dialogue_{args.what}.json", {**measured, "provenance": provenance(seeds)})


def measure_restaurants(args: argparse.Namespace, trainers: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train at each error rate and test beside the hand-crafted policy."""
    data, rows = restaurant_data(goals="unseen"), []
    for rate in (float(rate) for rate in args.error_rates.split(",")):
        crafted = search_thresholds(data, error_rate=rate, count=args.dialogs, seed=DEV_SEED)
        outcome = play_dialogs(crafted, data, error_rate=rate, count=args.dialogs, seed=TEST_SEED)
        thresholds = {name: getattr(crafted, name) for name in ("request", "confirm", "question", "goodbye")}
        rows.append(shown({"policy": "hand-crafted", "error_rate": rate, "seed": None, **figures(outcome), "thresholds": thresholds}))
        for trainer in trainers:
            for seed in seeds:
                run = trained(args, f"restaurant_{trainer}", seed, f"{rate:g}", f"--task.environment_options.error_rate={rate}")
                outcome = play_dialogs(acting(run), data, error_rate=rate, count=args.dialogs, seed=TEST_SEED)
                row = {"policy": trainer, "error_rate": rate, "seed": seed, **figures(outcome), "curve": curve(run, "dev/return_mean")}
                rows.append(shown(row))
    return {"dialogs": args.dialogs, "rows": rows}


def measure_movies(args: argparse.Namespace, trainers: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train, and look up the published success after as many dialogs as each evaluation came after."""
    published = json.loads((expanded("$SEQRL_DATA/movie_booking") / "published_dqn_curve.json").read_text(encoding="utf-8"))["success_rate"]
    last, rows = max(int(epoch) for epoch in published), []
    for trainer in trainers:
        for seed in seeds:
            points = curve(trained(args, f"movie_booking_{trainer}", seed, "", ""), "dev/success")
            rows.append({"trainer": trainer, "seed": seed, "curve": points})
            for dialogs, success in points:
                theirs = published[str(min(last, int(dialogs) // EPOCH))]
                print(f"{trainer} seed {seed}: {dialogs:7.0f} dialogs  success {success:.3f}  published {theirs:.3f}", flush=True)
    return {"rows": rows, "published": [published[str(epoch)] for epoch in range(last + 1)]}


def trained(args: argparse.Namespace, name: str, seed: int, label: str, override: str) -> Path:
    """Train a shipped configuration; give the run's folder."""
    run = f"{name}_{label}_{seed}" if label else f"{name}_{seed}"
    overrides = [f"--runs_folder={args.runs_folder}", f"--name={run}", f"--seed={seed}", "--num_threads=1"]
    overrides += [f"--steps={args.steps}", f"--eval_every={max(1, args.steps // 5)}"] if args.steps else []
    config = read_config(ROOT / "configs" / "dialog" / f"{name}.yaml", overrides + ([override] if override else []))
    whole(train(config, overwrite=True, display=False))
    return args.runs_folder / run


def acting(run: Path) -> Any:
    """Load a run's best policy as what maps features and masks to the acts that it likes best."""
    _, _, policy, _ = load(run)

    @torch.no_grad()
    def act(seen: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        obs = {"observation": torch.from_numpy(seen), "action_mask": torch.from_numpy(mask)}
        with evaluation_mode(policy):
            chosen: NDArray[np.int64] = policy.act(obs, policy.initial_state(None), greedy=True).action.numpy()  # type: ignore[operator]
        return chosen

    return act


def curve(run: Path, key: str) -> list[tuple[float, float]]:
    """List the dialogs that had ended and a figure, at each evaluation of a run."""
    dialogs, points = 0.0, []
    for line in read_metrics(run):
        dialogs += line.get("episode/count", 0.0)
        if key in line:
            points.append((dialogs, line[key]))
    return points


def figures(outcome: Outcome) -> dict[str, Any]:
    """Average success, turns and reward, each with half the width of its 95% interval."""
    columns = {"success": outcome.success, "turns": outcome.turns, "reward": outcome.reward}
    return {name: [float(of.mean()), float(1.96 * of.std(ddof=1) / np.sqrt(len(of)))] for name, of in columns.items()}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Print a row and give it back."""
    parts = "  ".join(f"{name} {row[name][0]:.3f} ±{row[name][1]:.3f}" for name in ("success", "turns", "reward"))
    seed = "" if row["seed"] is None else f" seed {row['seed']}"
    print(f"errors {row['error_rate']:.0%}: {row['policy']}{seed}: {parts}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(run_command(main, name="dialogue_policy.py"))
