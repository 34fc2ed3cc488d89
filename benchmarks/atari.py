"""Compare PPO on Atari Pong with Stable-Baselines3 and with what the machine can do at best: environment steps per second.

    python benchmarks/atari.py [--seeds 0,1,2] [--updates 6] [--threads 2] [--processor-time]

All have the usual settings (8 games, 128 steps, 4 epochs of 4 minibatches, Nature CNN) and two cores. Rates are wall-clock, from
the beginning of one rollout to the beginning of the next, the median of the updates after the first; with --processor-time
they are steps a second of CPU time, as on a machine with nothing else to do whose cores are always busy. The competitors
take turns, each in a process of its own. The limit is the games, the network's forward pass for 8 rows, and forward, backward
and Adam for a minibatch, each alone, as fast as we can do them. Stable-Baselines3 needs opencv-python-headless.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from competitors import ROOT, run_benchmark, run_competitor
from provenance import add_arguments, provenance, require_clean, write_results

NUM_ENVS, NUM_STEPS, EPOCHS, MINIBATCHES = 8, 128, 4, 4
STEPS = NUM_ENVS * NUM_STEPS
CONTENDERS = {"ours": "this project, bf16 where fast", "ours_fp32": "this project, fp32", "stable_baselines3": "Stable-Baselines3"}


class Clock:
    """Notes wall-clock and CPU seconds between calls."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def spans(self) -> list[list[float]]:
        return [[now - before for now, before in zip(*pair, strict=True)] for pair in zip(self.marks[1:], self.marks[:-1], strict=True)]


def run_ours(seed: int, num_updates: int, threads: int, precision: str, clock: Clock) -> dict[str, Any]:
    import torch

    from seqrl.run.config import read_config
    from seqrl.run.train import begin

    torch.set_num_threads(threads)
    changes = [
        f"--seed={seed}",
        f"--task.precision={precision}",
        f"--num_threads={threads}",
        "--num_updates=10000",
        "--trainer.optimiser.precision=fp32",
    ]
    config = read_config(ROOT / "configs" / "atari" / "pong_ppo.yaml", changes)
    config, _, task, policy = begin(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=10_000)
    for _ in range(num_updates + 1):
        clock.mark()
        trainer.update(trainer.collect(task))
    clock.mark()
    return {"precision": task.state_dict()["precision"]}


def run_peer(seed: int, num_updates: int, threads: int, clock: Clock) -> dict[str, Any]:
    import ale_py
    import gymnasium as gym
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    class Mark(BaseCallback):
        def _on_rollout_start(self) -> None:
            clock.mark()

        def _on_step(self) -> bool:
            return True

    gym.register_envs(ale_py)
    torch.set_num_threads(threads)
    model = PPO(
        "CnnPolicy",
        VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=NUM_ENVS, seed=seed), n_stack=4),
        n_steps=NUM_STEPS,
        batch_size=STEPS // MINIBATCHES,
        n_epochs=EPOCHS,
        learning_rate=lambda left: 2.5e-4 * left,
        clip_range=0.1,
        ent_coef=0.01,
        vf_coef=0.5,
        seed=seed,
        device="cpu",
    )
    model.learn((num_updates + 1) * STEPS, callback=Mark())
    clock.mark()
    return {"precision": "fp32"}


def run_limits(threads: int, now: Callable[[], float]) -> dict[str, float]:
    import numpy as np
    import torch

    from seqrl.adamw import AdamW
    from seqrl.policies.networks import NatureCNN
    from seqrl.tasks.atari.games import AtariGames

    torch.set_num_threads(threads)
    games = AtariGames("pong", NUM_ENVS)
    games.reset(seed=0)
    actions = iter(np.random.default_rng(0).integers(6, size=(10_000, NUM_ENVS)))
    environment_s = _seconds(lambda: games.step(next(actions)), 400, now)
    frames = torch.randint(0, 256, (STEPS // MINIBATCHES, 84, 84, 4), dtype=torch.uint8)
    result = {"environment_alone_steps_per_s": NUM_ENVS / environment_s}
    for precision in ("fp32", "bf16"):
        network = NatureCNN(4, precision=precision)  # type: ignore[arg-type]
        with torch.no_grad(), network.constant_weights():
            forward_s = _seconds(lambda network=network: network(frames[:NUM_ENVS]), 200, now)  # type: ignore[misc]
        adamw = AdamW(list(network.parameters()), weight_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-5)

        def update(network: NatureCNN = network, adamw: AdamW = adamw) -> None:
            network(frames).square().mean().backward()
            adamw.step(1e-9)
            adamw.clear_gradients()

        update_s = _seconds(update, 12, now)
        total = NUM_STEPS * (environment_s + forward_s) + EPOCHS * MINIBATCHES * update_s
        result |= {
            f"forward_alone_ms_{precision}": 1e3 * forward_s,
            f"update_alone_samples_per_s_{precision}": len(frames) / update_s,
            f"limit_steps_per_s_{precision}": STEPS / total,
        }
    return result


def _seconds(call: Callable[[], Any], number: int, now: Callable[[], float]) -> float:
    times = []
    for _ in range(number):
        start = now()
        call()
        times.append(now() - start)
    return statistics.median(times[number // 10 :])


def worker(name: str, seed: int, num_updates: int, threads: int, processor_time: bool) -> None:
    if name != "stable_baselines3":
        import_module("seqrl")  # before PyTorch, as the command does: it tells PyTorch's threads how to wait
    if name == "limits":
        print(json.dumps(run_limits(threads, (lambda: time.process_time() / threads) if processor_time else time.perf_counter)))
        return
    clock = Clock()
    if name == "stable_baselines3":
        said = run_peer(seed, num_updates, threads, clock)
    else:
        said = run_ours(seed, num_updates, threads, "fp32" if name == "ours_fp32" else "auto", clock)
    print(json.dumps(said | {"spans": clock.spans()[1:]}))


def measure(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run a competitor in a process of its own and read its last line."""
    arguments = ["--seeds", str(seed), "--updates", str(args.updates), "--threads", str(args.threads)]
    return run_competitor(__file__, name, [*arguments, *(["--processor-time"] if args.processor_time else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--worker", choices=[*CONTENDERS, "limits"], help="only run this, and print what it measured")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "atari.json")
    add_arguments(parser)
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    if args.worker is not None:
        worker(args.worker, seeds[0], args.updates, args.threads, args.processor_time)
        return
    require_clean(allow_dirty=args.allow_dirty)
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=args.threads)}
    report |= {"threads": args.threads, "updates": args.updates, "load_average_before": os.getloadavg(), "seeds": {}}
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for seed in seeds:
        limits = measure("limits", seed, args)
        print(f"seed {seed}: " + "  ".join(f"{key} {value:,.1f}" for key, value in limits.items()), flush=True)
        row: dict[str, Any] = {"limits": limits}
        for name, title in CONTENDERS.items():
            said = measure(name, seed, args)
            wall, processor = (statistics.median(column) for column in zip(*said["spans"], strict=True))
            rate = args.threads * STEPS / processor if args.processor_time else STEPS / wall
            limit = limits[f"limit_steps_per_s_{said['precision']}"]
            rates[name].append(rate)
            row[name] = {"precision": said["precision"], "wall_steps_per_s": STEPS / wall, "processor_s_per_update": processor}
            print(f"{title:30s} {said['precision']}  {rate:6,.0f} steps/s  {rate / limit:4.0%} of the limit", flush=True)
        report["seeds"][seed] = row
    ratios = {name: statistics.median(rates[name]) / statistics.median(rates["stable_baselines3"]) for name in CONTENDERS}
    report |= {"ratios": ratios, "load_average_after": os.getloadavg(), "processor_time": args.processor_time}
    print("times Stable-Baselines3: " + "  ".join(f"{title} {ratios[name]:.2f}" for name, title in CONTENDERS.items()))
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
