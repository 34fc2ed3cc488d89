"""Cloning, DAgger and GAIL from one expert: the return by how many of the expert's labels or episodes they saw.

python benchmarks/imitation.py --seeds 0,1,2 --runs FOLDER [--parts cartpole,cartpole_noise,hopper]

Experts are trained first where FOLDER does not hold them: CartPole's by `cartpole_ppo_tuned`, Hopper's by `hopper_ppo`. Prints and
writes, for each seed, the mean return over greedy episodes from the test starts; seconds are CPU time. GAIL is also trained with a
discriminator that sees no difference ("blind": D = 1/2 everywhere), since its reward may pay for staying alive.
Results are put into benchmarks/results/imitation.json, in the place of earlier ones of the same part.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from competitors import whole
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.run.config import read_config
from seqrl.run.inspect_run import record_data
from seqrl.run.interrupt import run_command
from seqrl.run.train import Source, train

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "control"
PARTS = ("cartpole", "cartpole_noise", "hopper")
# name -> (configuration, updates, recorded episodes)
EXPERTS = {"cartpole": ("cartpole_ppo_tuned", None, 10), "hopper": ("hopper_ppo", None, 20)}
LABELS, NOISE = (32, 64, 128, 256), 0.1
OPTIMISER_STEPS = 1000  # of cloning, whatever the number of labels
Record = dict[str, Any]


def expert(name: str, runs: Path) -> tuple[Path, Path, dict[str, float]]:
    """Train an expert and record its episodes, where that is not done; give run, folder of the episodes, and its return on test."""
    config_name, updates, episodes = EXPERTS[name]
    run, data = runs / f"{name}_expert", runs / f"{name}_episodes"
    if not (run / "config.yaml").is_file():
        changes = [f"--runs_folder={runs}", f"--name={name}_expert"] + ([] if updates is None else [f"--num_updates={updates}"])
        whole(train(read_config(CONFIGS / f"{config_name}.yaml", changes), display=False))
    if not data.exists():
        record_data(Source(run), data, episodes=episodes)
    loaded = Source(run).load()
    return run, data, loaded.task.evaluate(loaded.policy.eval(), split="test")


def learn(
    name: str, seed: int, changes: Sequence[str], *, every: int = 0, blind: bool = False
) -> tuple[Any, Any, float, list[list[float]]]:
    """Train by a configuration; give task, policy, CPU seconds, and where asked for (update, return, length) on the way."""
    config = read_config(CONFIGS / f"{name}.yaml", list(changes))
    torch.manual_seed(seed)
    task = config.task.build(seed)
    trainer = config.trainer.build(task.build_policy(), seed=seed, num_updates=config.num_updates)
    if blind:
        with torch.no_grad():
            for parameter in trainer.discriminator.layers.parameters():
                parameter.zero_()
    seconds, course = 0.0, []
    for update in range(1, config.num_updates + 1):
        start = time.process_time()
        trainer.update(trainer.collect(task))
        seconds += time.process_time() - start
        if every and update % every == 0:
            course.append([update, *tested(task, trainer.policy)])
    return task, trainer.policy, seconds, course


def tested(task: Any, policy: torch.nn.Module) -> tuple[float, float]:
    """Mean return and length over greedy episodes from the test starts."""
    found = task.evaluate(policy.eval(), split="test")
    return round(found["return_mean"], 1), round(found["length"], 1)


def cloned(data: Path, seed: int, number: int, noise: float = 0.0) -> Record:
    """Clone the first labels of the expert's episodes."""
    changes = [f"--num_updates={OPTIMISER_STEPS}", f"--task.demonstrations.path={data}", f"--task.demonstrations.noise={noise}"]
    config = read_config(CONFIGS / "cartpole_bc.yaml", changes)
    task = config.task.build(seed)
    keep_first(task, number)
    start = time.process_time()
    trainer = config.trainer.build(task.build_policy(), seed=seed, num_updates=config.num_updates)
    for _ in range(config.num_updates):
        trainer.update(trainer.collect(task))
    return about("supervised", seed, number, time.process_time() - start, tested(task, trainer.policy), noise=noise)


def asked(run: Path, seed: int, number: int) -> Record:
    """Run DAgger with so many labels in eight rounds, and as many optimiser steps as cloning."""
    rounds = 8
    epochs = OPTIMISER_STEPS // sum(math.ceil(number * (k + 1) / rounds / 256) for k in range(rounds))
    changes = [f"--num_updates={rounds}", f"--task.expert={run}", "--task.num_envs=4", f"--task.num_steps={number // rounds // 4}"]
    task, policy, seconds, _ = learn("cartpole_dagger", seed, [*changes, f"--trainer.epochs={epochs}", "--trainer.batch_size=256"])
    return about("dagger", seed, number, seconds, tested(task, policy))


def keep_first(task: Any, number: int) -> None:
    """Let a task demonstrate the first steps of its recording alone."""
    shown = task.demonstrations
    length, left = shown.length.clone(), number
    for index, steps in enumerate(length.tolist()):
        length[index] = min(steps, left)
        left -= int(length[index])
    shown.length = length


def about(trainer: str, seed: int, number: int, seconds: float, found: tuple[float, float], **more: Any) -> Record:
    return {
        "trainer": trainer,
        "seed": seed,
        "number": number,
        "seconds": round(seconds, 1),
        "return": found[0],
        "length": found[1],
        **more,
    }


def gail(world: str, data: Path, seed: int, *, updates: int, every: int, blind: bool = False) -> Record:
    """Run GAIL on an expert's episodes."""
    changes = [f"--task.demonstrations.path={data}", f"--num_updates={updates}"]
    changes += ["--trainer.discriminator.learning_rate=1e-30"] if blind else []
    task, policy, seconds, course = learn(f"{world}_gail", seed, changes, every=every, blind=blind)
    return about("blind" if blind else "gail", seed, EXPERTS[world][2], seconds, tested(task, policy), course=course)


def measured(part: str, runs: Path, seed: int) -> Iterator[Record]:
    """Do a part of the measurements with a seed."""
    world = part.partition("_")[0]
    run, data, _ = expert(world, runs)
    if part == "cartpole":
        for number in LABELS:
            yield cloned(data, seed, number)
            yield asked(run, seed, number)
        yield gail(world, data, seed, updates=120, every=20)
        yield gail(world, data, seed, updates=120, every=20, blind=True)
    elif part == "cartpole_noise":
        for number in LABELS[:2]:
            yield cloned(data, seed, number, NOISE)
    else:
        yield gail(world, data, seed, updates=300, every=20)


def main() -> None:
    """Print a line for each result, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the experts; made where they are missing")
    parser.add_argument("--parts", default=",".join(PARTS))
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    torch.set_num_threads(1)
    path = RESULTS / "imitation.json"
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for part in args.parts.split(","):
        best = expert(part.partition("_")[0], args.runs)[2]
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found: list[Record] = []
        for number, seed in enumerate(seeds, 1):
            for record in measured(part, args.runs, seed):
                found.append(record)
                print(json.dumps(record), flush=True)
                kept[part] = {"expert": {key: round(value, 1) for key, value in best.items()}, "results": found}
                write_results(path, kept | {part: kept[part] | {"provenance": provenance(seeds[:number])}})


if __name__ == "__main__":
    sys.exit(run_command(main, name="imitation.py"))
