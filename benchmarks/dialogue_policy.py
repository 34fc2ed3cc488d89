"""Dialogue policies: reinforcement learning beside a hand-crafted policy under misunderstandings, and beside a published learning curve.

python benchmarks/dialogue_policy.py restaurants [--trainers ppo,a2c,dqn,reinforce] [--error-rates 0.15,0.3,0] [--seeds 0,1,2]
python benchmarks/dialogue_policy.py restaurants --trainers ppo --error-rates 0.1,0.2,0.4 --output .../dialogue_policy_rates.json
SEQRL_DATA=folder python benchmarks/dialogue_policy.py movies [--trainers dqn,ppo] [--seeds 0,1,2]
python benchmarks/dialogue_policy.py speed

restaurants: trains configs/dialog/restaurant_<trainer>.yaml at each error rate, searches the thresholds of the hand-crafted policy on
dev dialogs at that rate, and plays the same test dialogs about goals not trained with. Success, turns of the system and reward,
each with a 95% interval over dialogs.
movies: trains configs/dialog/movie_booking_<trainer>.yaml, tests the last policy or, where the configuration watches a figure, the best on
dev, and prints the success of each evaluation beside the published agent's after as many dialogs.
speed: steps the vector forms with acts drawn evenly from the masks; turns of the system a second of CPU time, one thread.

Writes benchmarks/results/dialogue_policy_<what>.json after each row. Runs lie in runs/dialogue_policy; those that are finished are not done
again, so that the same command goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competitors import train_once
from handcrafted import HandCrafted, Outcome, columns_of, play_dialogs
from numpy.typing import NDArray
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results

from seqrl.policies.tokens import evaluation_mode
from seqrl.run.config import read_config
from seqrl.run.inspect_run import evaluate
from seqrl.run.interrupt import run_command
from seqrl.run.log import read_metrics
from seqrl.run.train import Source, load
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.dialog.names import MOVIE_BOOKING, RESTAURANT
from seqrl.tasks.dialog.restaurant_data import restaurant_data
from seqrl.tasks.paths import expanded

DEV_SEED, TEST_SEED = 11, 12
EPOCH, WARM_START = 100, 120  # dialogs of an epoch of the published curve, and before the first one
# Thresholds that are tried.
GRID = {
    "request": (0.0, 0.3, 0.6),
    "confirm": (0.0, 0.3, 0.6, 0.8),
    "question": (0.0, 0.2, 0.4),
    "alternatives": (0.2, 0.4, 0.6),
    "goodbye": (0.2, 0.4, 0.5, 0.6, 0.8),
}
THRESHOLDS = tuple(GRID)
TRAINERS = {"restaurants": "ppo,a2c,dqn,reinforce", "movies": "dqn,ppo"}


def main() -> None:
    """Measure what the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("restaurants", "movies", "speed"))
    parser.add_argument("--trainers", help="with commas; all of the configurations by default")
    parser.add_argument("--error-rates", default="0.15,0.3,0")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--dialogs", type=int, default=1000, help="of a test, and of the search")
    parser.add_argument("--num_updates", type=int, help="updates of each run; the configuration's by default")
    parser.add_argument("--runs-folder", type=Path, default=ROOT / "runs" / "dialogue_policy")
    parser.add_argument("--output", type=Path, help="file to write; the one named above by default")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    measure = {"restaurants": measure_restaurants, "movies": measure_movies, "speed": measure_speed}[args.what]
    trainers = (args.trainers or TRAINERS.get(args.what, "")).split(",")
    measure(args, trainers, [int(seed) for seed in args.seeds.split(",")])


def write(args: argparse.Namespace, seeds: Sequence[int], results: dict[str, Any]) -> None:
    """Write what there is."""
    write_results(args.output or RESULTS / f"dialogue_policy_{args.what}.json", {**results, "provenance": provenance(seeds, threads=1)})


def measure_restaurants(args: argparse.Namespace, trainers: Sequence[str], seeds: Sequence[int]) -> None:
    """Train at each error rate and test beside the hand-crafted policy."""
    data, rows, rates = restaurant_data(goals="unseen"), [], [float(rate) for rate in args.error_rates.split(",")]

    def add(row: dict[str, Any]) -> None:
        rows.append(shown(row))
        write(args, seeds, {"dialogs": args.dialogs, "rows": rows})

    for rate in rates:
        crafted = thresholds(args, rate)
        outcome = play_dialogs(crafted, data, error_rate=rate, count=args.dialogs, seed=TEST_SEED)
        chosen = {name: getattr(crafted, name) for name in THRESHOLDS}
        add({"policy": "hand-crafted", "error_rate": rate, "seed": None, **figures(outcome), "thresholds": chosen})
    for trainer in trainers:
        for rate in rates:
            for seed in seeds:
                run = trained(args, f"restaurant_{trainer}", seed, f"_{rate:g}", [f"--task.environment_options.error_rate={rate}"])
                outcome = play_dialogs(acting(run), data, error_rate=rate, count=args.dialogs, seed=TEST_SEED)
                learned = {"curve": curve(run, "dev/return_mean"), "successes": curve(run, "dev/success"), "commit": commit(run)}
                add({"policy": trainer, "error_rate": rate, "seed": seed, **figures(outcome), **learned})


def measure_movies(args: argparse.Namespace, trainers: Sequence[str], seeds: Sequence[int]) -> None:
    """Train, test, and look up the published success after as many dialogs as each evaluation came after."""
    told = json.loads((expanded("$SEQRL_DATA/movie_booking") / "published_dqn_curve.json").read_text(encoding="utf-8"))
    published = {key: [values[str(epoch)] for epoch in range(len(values))] for key, values in told.items()}
    rows: list[dict[str, Any]] = []
    for trainer in trainers:
        for seed in seeds:
            run = trained(args, f"movie_booking_{trainer}", seed, "", [f"--task.num_eval_episodes={args.dialogs}"])
            tested = evaluate(Source(run), split="test")[1]
            share, points = tested["success"], curve(run, "dev/success")
            rows.append({"trainer": trainer, "seed": seed, "success": [share, 1.96 * (share * (1 - share) / args.dialogs) ** 0.5]})
            rows[-1] |= {"turns": tested["turns"], "reward": tested["return_mean"], "curve": points, "commit": commit(run)}
            for dialogs, success in points:
                epoch = min(len(published["success_rate"]) - 1, max(0, int(dialogs - WARM_START) // EPOCH))
                theirs = published["success_rate"][epoch]
                print(f"{trainer} seed {seed}: {dialogs:7.0f} dialogs  success {success:.3f}  published {theirs:.3f}", flush=True)
            print(f"{trainer} seed {seed}: test {share:.3f} ±{rows[-1]['success'][1]:.3f}", flush=True)
            write(args, seeds, {"dialogs": args.dialogs, "rows": rows, "published": published, "goals": [125, 128]})


def measure_speed(args: argparse.Namespace, trainers: Sequence[str], seeds: Sequence[int]) -> None:
    """Step vector environments; the median over repetitions of turns a second of CPU time."""
    rows = []
    for name, options in ((RESTAURANT, {"error_rate": 0.15}), (RESTAURANT, {"error_rate": 0.0}), (MOVIE_BOOKING, {})):
        envs, random = GymnasiumFactory(name, options=options).make(512), np.random.default_rng(0)
        info, rates = envs.reset(seed=0)[1], []
        for _ in range(9):
            start = time.process_time()
            for _ in range(20):
                weight = np.where(info["action_mask"], random.random(info["action_mask"].shape), -1.0)
                info = envs.step(weight.argmax(axis=1))[-1]
            rates.append(20 * 512 / (time.process_time() - start))
        rows.append({"environment": name, "options": options, "dialogs_at_once": 512, "turns_per_s": statistics.median(rates)})
        print(f"{name} {options}: {rows[-1]['turns_per_s']:,.0f} turns a second of CPU time", flush=True)
    write(args, [0], {"rows": rows})


def thresholds(args: argparse.Namespace, rate: float) -> HandCrafted:
    """Search the hand-crafted policy's thresholds at an error rate, on dev dialogs, unless it was done."""
    path, data = args.runs_folder / f"thresholds_{rate:g}_{args.dialogs}.json", restaurant_data(goals="unseen")
    if path.is_file():
        return HandCrafted(columns_of(data), **json.loads(path.read_text(encoding="utf-8")))
    columns = columns_of(data)
    tried = [HandCrafted(columns, *values) for values in product(*GRID.values())]
    rewards = [play_dialogs(policy, data, error_rate=rate, count=args.dialogs, seed=DEV_SEED).reward.mean() for policy in tried]
    found = tried[int(np.argmax(rewards))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: getattr(found, name) for name in THRESHOLDS}), encoding="utf-8")
    return found


def trained(args: argparse.Namespace, name: str, seed: int, label: str, changes: Sequence[str]) -> Path:
    """Train a shipped configuration, unless it was done; give the run's folder."""
    overrides = [f"--runs_folder={args.runs_folder}", f"--name={name}{label}_{seed}", f"--seed={seed}", "--num_threads=1"]
    overrides += ["--trainer.optimiser.precision=fp32", *changes]
    overrides += [f"--num_updates={args.num_updates}", f"--eval_every={max(1, args.num_updates // 5)}"] if args.num_updates else []
    return train_once(read_config(ROOT / "configs" / "dialog" / f"{name}.yaml", overrides))


def acting(run: Path) -> Any:
    """Load a run's last policy as what maps features and masks to the acts that it likes best."""
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


def commit(run: Path) -> str:
    """Name the commit that a run was trained at, which an earlier call may have done."""
    return str(json.loads((run / "env.json").read_text(encoding="utf-8"))[-1]["git_commit"])


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
