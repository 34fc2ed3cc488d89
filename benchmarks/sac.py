"""Soft actor-critic beside Stable-Baselines3's at equal steps: returns, and CPU time a step, in turn.

    python benchmarks/sac.py [--seeds 0,1,2] [--steps 5000] [--speed-steps 1500] [--parts learn,speed]
    python benchmarks/sac.py --world halfcheetah --steps 40000 --parts learn

Both have the settings of configs/control/pendulum_sac.yaml or halfcheetah_sac.yaml (two layers of 256, batches of 256, one optimiser step
for each step of the world, entropy learned; learning rate 1e-3 on Pendulum, 3e-4 on HalfCheetah), fp32 and one thread, and the same start
states for their greedy episodes, 20 and 10 of them. Times are CPU seconds of sampling and update once learning has begun, evaluations
left out. They are measured in turn, each in a process of its own, since what else the machine does changes them by more than the
trainers differ: by themselves on Pendulum, within the runs that learn on HalfCheetah, which are long enough. Needs
`pip install stable_baselines3`. Writes benchmarks/results/sac.json or sac_halfcheetah.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from competitors import run_benchmark, run_competitor
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

NAMES = ("ours", "stable_baselines3")
EVALUATION_SEED = 1_000_000_007


@dataclass(frozen=True)
class World:
    """What differs between the worlds.

    Attributes:
        environment: of gymnasium.
        scale: the largest action, which a policy's 1 stands for.
        num_episodes: of an evaluation.
        num_steps: of an episode.
        eval_every: steps from one evaluation to the next.
        warm_up: steps that are not timed.
        results: file of the results.
        peer: settings of Stable-Baselines3's that say what the configuration says.
    """

    environment: str
    scale: float
    num_episodes: int
    num_steps: int
    eval_every: int
    warm_up: int
    results: str
    peer: dict[str, Any]


WORLDS = {
    "pendulum": World(
        *("Pendulum-v1", 2.0, 20, 200, 1000, 250, "sac.json"),
        {"learning_rate": 1e-3, "buffer_size": 10_000, "learning_starts": 100},
    ),
    "halfcheetah": World(
        *("HalfCheetah-v5", 1.0, 10, 1000, 5000, 10_500, "sac_halfcheetah.json"),
        {"learning_rate": 3e-4, "buffer_size": 1_000_000, "learning_starts": 10_000},
    ),
}


def greedy_return(world: World, act: Any) -> float:
    """Play episodes side by side; the mean of their returns."""
    import gymnasium as gym
    import numpy as np

    envs = gym.make_vec(world.environment, world.num_episodes, vectorization_mode="sync")
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    total = np.zeros(world.num_episodes)
    for _ in range(world.num_steps):
        seen, reward, *_ = envs.step(act(seen.astype(np.float32)))
        total += reward
    return float(total.mean())


def run_ours(name: str, seed: int, steps: int, every: int) -> dict[str, Any]:
    """Train our own."""
    import numpy as np
    import torch

    from seqrl.run.config import read_config
    from seqrl.run.train import build

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    world = WORLDS[name]
    config = read_config(f"{name}_sac", [f"--seed={seed}", f"--num_updates={steps}", "--trainer.optimiser.precision=fp32"])
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=steps)

    @torch.no_grad()
    def act(seen: np.ndarray) -> np.ndarray:
        return world.scale * policy.act(torch.from_numpy(seen), greedy=True).action.tanh().numpy()  # type: ignore[operator]

    curve, spent = [], 0.0
    for step in range(1, steps + 1):
        if step == world.warm_up + 1:
            spent = 0.0
        start = time.process_time()
        trainer.update(trainer.collect(task))
        spent += time.process_time() - start
        if every and step % every == 0:
            curve.append([step, greedy_return(world, act)])
    return {"curve": curve, "ms_per_step": 1000 * spent / (steps - world.warm_up)}


def run_peer(name: str, seed: int, steps: int, every: int) -> dict[str, Any]:
    """Train Stable-Baselines3's."""
    import gymnasium as gym
    import torch
    from stable_baselines3 import SAC

    torch.set_num_threads(1)
    world = WORLDS[name]
    fixed: dict[str, Any] = {"batch_size": 256, "train_freq": 1, "gradient_steps": 1, "device": "cpu"}
    model = SAC("MlpPolicy", gym.make(world.environment), seed=seed, **fixed, **world.peer)
    curve, spent, done = [], 0.0, 0
    for until in sorted({world.warm_up, steps, *(range(every, steps + 1, every) if every else ())}):
        start = time.process_time()
        model.learn(until - done, reset_num_timesteps=not done)
        spent += time.process_time() - start if done >= world.warm_up else 0.0
        done = until
        if every and until % every == 0:
            curve.append([until, greedy_return(world, lambda seen: model.predict(seen, deterministic=True)[0])])
    return {"curve": curve, "ms_per_step": 1000 * spent / (steps - world.warm_up)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=tuple(WORLDS), default="pendulum")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--speed-steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="learn,speed")
    parser.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    add_arguments(parser)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps((run_ours if args.worker == "ours" else run_peer)(*args.arguments)))
        return
    require_clean(allow_dirty=args.allow_dirty)

    world = WORLDS[args.world]

    def run(name: str, *arguments: int) -> dict[str, Any]:
        return run_competitor(__file__, name, ["--arguments", json.dumps([args.world, *arguments])])

    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "steps": args.steps, "learn": {}, "speed": {}}
    for round_number in range(args.rounds if "speed" in args.parts else 0):
        for name in NAMES:
            report["speed"].setdefault(name, []).append(run(name, round_number, args.speed_steps, 0)["ms_per_step"])
        write_results(RESULTS / world.results, report)
    if report["speed"]:
        report["ratios"] = [peer / ours for ours, peer in zip(*(report["speed"][name] for name in NAMES), strict=True)]
        print(f"milliseconds a step {report['speed']}; ratio {statistics.median(report['ratios']):.2f}", flush=True)
    for seed in seeds if "learn" in args.parts else []:
        for name in NAMES:
            row = report["learn"].setdefault(name, {})[seed] = run(name, seed, args.steps, world.eval_every)
            print(
                f"{name}, seed {seed}: {', '.join(f'{value:.0f}' for _, value in row['curve'])}; {row['ms_per_step']:.2f} ms a step",
                flush=True,
            )
            write_results(RESULTS / world.results, report)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
