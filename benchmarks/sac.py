"""Soft actor-critic on Pendulum beside Stable-Baselines3's at equal steps: returns, and CPU time a step, in turn.

    python benchmarks/sac.py [--seeds 0,1,2] [--steps 5000] [--speed-steps 1500] [--parts learn,speed]

Both have the settings of configs/control/pendulum_sac.yaml (two layers of 256, batches of 256, one optimiser step for each step of the
world, learning rate 1e-3, entropy learned), fp32 and one thread, and the same 20 start states for their greedy episodes. Times are CPU
seconds of sampling and update, evaluations left out. The speeds are measured in turn, each in a process of its own, since what else the
machine does changes them by more than the trainers differ. Needs `pip install stable_baselines3`. Writes benchmarks/results/sac.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from competitors import run_benchmark, run_competitor
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

NAMES = ("ours", "stable_baselines3")
NUM_EPISODES, EVALUATION_SEED, WARM_UP = 20, 1_000_000_007, 250


def greedy_return(act: Any) -> float:
    """Play 20 episodes side by side; the mean of their returns."""
    import gymnasium as gym
    import numpy as np

    envs = gym.make_vec("Pendulum-v1", NUM_EPISODES, vectorization_mode="sync")
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    total = np.zeros(NUM_EPISODES)
    for _ in range(200):
        seen, reward, *_ = envs.step(act(seen.astype(np.float32)))
        total += reward
    return float(total.mean())


def run_ours(seed: int, steps: int, every: int) -> dict[str, Any]:
    """Train our own."""
    import numpy as np
    import torch

    from seqrl.run.config import read_config
    from seqrl.run.train import build

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = read_config("pendulum_sac", [f"--seed={seed}", f"--num_updates={steps}", "--trainer.optimiser.precision=fp32"])
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=steps)

    @torch.no_grad()
    def act(seen: np.ndarray) -> np.ndarray:
        return 2 * policy.act(torch.from_numpy(seen), greedy=True).action.tanh().numpy()  # type: ignore[operator]

    curve, spent = [], 0.0
    for step in range(1, steps + 1):
        if step == WARM_UP:
            spent = 0.0
        start = time.process_time()
        trainer.update(trainer.collect(task))
        spent += time.process_time() - start
        if every and step % every == 0:
            curve.append([step, greedy_return(act)])
    return {"curve": curve, "ms_per_step": 1000 * spent / (steps - WARM_UP + 1)}


def run_peer(seed: int, steps: int, every: int) -> dict[str, Any]:
    """Train Stable-Baselines3's."""
    import gymnasium as gym
    import torch
    from stable_baselines3 import SAC

    torch.set_num_threads(1)
    settings: dict[str, Any] = {"learning_rate": 1e-3, "buffer_size": 10_000, "learning_starts": 100, "batch_size": 256}
    model = SAC("MlpPolicy", gym.make("Pendulum-v1"), train_freq=1, gradient_steps=1, seed=seed, device="cpu", **settings)
    curve, spent, done = [], 0.0, 0
    for until in [WARM_UP, *(range(every, steps + 1, every) if every else [steps])]:
        start = time.process_time()
        model.learn(until - done, reset_num_timesteps=not done)
        spent += time.process_time() - start if done else 0.0
        done = until
        if every and until != WARM_UP:
            curve.append([until, greedy_return(lambda seen: model.predict(seen, deterministic=True)[0])])
    return {"curve": curve, "ms_per_step": 1000 * spent / (steps - WARM_UP)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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

    def run(name: str, *arguments: int) -> dict[str, Any]:
        return run_competitor(__file__, name, ["--arguments", json.dumps(arguments)])

    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "steps": args.steps, "learn": {}, "speed": {}}
    for round_number in range(args.rounds if "speed" in args.parts else 0):
        for name in NAMES:
            report["speed"].setdefault(name, []).append(run(name, round_number, args.speed_steps, 0)["ms_per_step"])
        write_results(RESULTS / "sac.json", report)
    if report["speed"]:
        report["ratios"] = [peer / ours for ours, peer in zip(*(report["speed"][name] for name in NAMES), strict=True)]
        print(f"milliseconds a step {report['speed']}; ratio {statistics.median(report['ratios']):.2f}", flush=True)
    for seed in seeds if "learn" in args.parts else []:
        for name in NAMES:
            row = report["learn"].setdefault(name, {})[seed] = run(name, seed, args.steps, 1000)
            print(f"{name}, seed {seed}: {', '.join(f'{value:.0f}' for _, value in row['curve'])}", flush=True)
            write_results(RESULTS / "sac.json", report)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
