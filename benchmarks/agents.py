"""Compare PPO on CartPole with Stable-Baselines3 and with what the machine can do at best: speed, steps and seconds to solve.

    python benchmarks/agents.py [--seeds 0,1,2] [--updates 390] [--parts rates,cold]

Both have the settings of configs/control/cartpole_ppo_tuned.yaml, which are those that Stable-Baselines3 was tuned to (8 copies,
32 steps, 20 epochs of one minibatch, learning rate and clip linear from 1e-3 and 0.2). The limit is the environment, the
actor's forward passes, and forward, backward and Adam of both networks, each alone, as fast as we can do them. Rates are
steps a second of CPU time in sampling and update, so that other work on the machine counts little; evaluations (100
greedy episodes every ten updates) are not in it. Solved is the first of three evaluations in a row of at least 475; `stays`
is the share of the evaluations from there on that reach it. A cold start is wall-clock time from the start of the process,
imports and evaluations counted. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import gymnasium as gym
import numpy as np
import torch
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
TUNED, FAST = (ROOT / "configs" / "control" / f"cartpole_ppo_{name}.yaml" for name in ("tuned", "fast"))
NUM_ENVS, NUM_STEPS, EPOCHS = 8, 32, 20
EVAL_EVERY, NUM_EVAL_EPISODES, EVALUATION_SEED, SOLVED = 10, 100, 1_000_000_007, 475.0


@dataclass
class Learning:
    """One run: its rate, and steps, mean return and seconds at each evaluation."""

    steps_per_s: float = 0.0
    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def solved_at(returns: list[float]) -> int | None:
    """Give the first of three evaluations in a row that reach the threshold."""
    reached = [value >= SOLVED for value in returns]
    return next((i for i in range(len(reached) - 2) if all(reached[i : i + 3])), None)


def stays(returns: list[float], start: int | None) -> float:
    """Give the share of the evaluations from `start` on that reach the threshold."""
    return 0.0 if start is None else sum(value >= SOLVED for value in returns[start:]) / len(returns[start:])


def greedy_return(act: Callable[[np.ndarray], np.ndarray]) -> float:
    """Play 100 episodes side by side; the mean of their returns."""
    envs = gym.make_vec("CartPole-v1", NUM_EVAL_EPISODES, vectorization_mode="vector_entry_point")
    seen, _ = envs.reset(seed=EVALUATION_SEED)
    alive, total = np.ones(NUM_EVAL_EPISODES, dtype=bool), np.zeros(NUM_EVAL_EPISODES)
    while alive.any():
        seen, reward, terminated, truncated, _ = envs.step(act(seen))
        total += reward * alive
        alive &= ~(terminated | truncated)
    return float(total.mean())


def run_ours(seed: int, num_updates: int) -> Learning:
    from seqrl.run.config import read_config
    from seqrl.run.train import build

    config = read_config(TUNED, [f"--seed={seed}", f"--num_updates={num_updates}"])
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=num_updates)

    @torch.no_grad()
    def act(seen: np.ndarray) -> np.ndarray:
        return policy.act(torch.from_numpy(seen), greedy=True).action.numpy()  # type: ignore[operator]

    run, spent = Learning(), 0.0
    for update in range(1, num_updates + 1):
        start = time.process_time()
        trainer.update(trainer.collect(task))
        spent += time.process_time() - start
        if update % EVAL_EVERY == 0:
            _note(run, update, spent, act)
    run.steps_per_s = num_updates * NUM_ENVS * NUM_STEPS / spent
    return run


def _note(run: Learning, update: int, spent: float, act: Callable[[np.ndarray], np.ndarray]) -> None:
    run.steps.append(update * NUM_ENVS * NUM_STEPS)
    run.returns.append(greedy_return(act))
    run.seconds.append(spent)


def run_peer(seed: int, num_updates: int, say: Callable[[float], Any] = lambda value: None) -> Learning:
    """Train Stable-Baselines3's PPO; its own clock stands still during the evaluations."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    run = Learning()

    class Evaluate(BaseCallback):
        """Evaluates when a rollout begins, which is after the update before it."""

        def __init__(self) -> None:
            super().__init__()
            self.num_updates, self.paused = 0, 0.0

        def _on_rollout_start(self) -> None:
            if self.num_updates and self.num_updates % EVAL_EVERY == 0:
                self.evaluate()
            self.num_updates += 1

        def evaluate(self) -> None:
            begin = time.process_time()
            _note(run, self.num_updates, begin - start - self.paused, lambda seen: self.model.predict(seen, deterministic=True)[0])
            say(run.returns[-1])
            self.paused += time.process_time() - begin

        def _on_step(self) -> bool:
            return True

    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=NUM_ENVS, seed=seed),
        n_steps=NUM_STEPS,
        batch_size=NUM_ENVS * NUM_STEPS,
        n_epochs=EPOCHS,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        seed=seed,
        device="cpu",
    )
    callback, start = Evaluate(), time.process_time()
    num_steps = num_updates * NUM_ENVS * NUM_STEPS
    model.learn(num_steps, callback=callback)
    run.steps_per_s = num_steps / (time.process_time() - start - callback.paused)
    if num_updates % EVAL_EVERY == 0:  # nothing begins after the last update
        callback.evaluate()
    return run


def limits() -> dict[str, float]:
    """Time the environment, the actor, and both networks with Adam, alone; the rate if nothing else cost anything."""
    from seqrl.adamw import AdamW
    from seqrl.policies.networks import MLP
    from seqrl.trainers.fused_ppo import layer_gradients, tanh_layers, weights_of

    envs = gym.make_vec("CartPole-v1", NUM_ENVS, vectorization_mode="vector_entry_point")
    envs.reset(seed=0)
    actions = iter(np.random.default_rng(0).integers(2, size=(100_000, NUM_ENVS)))
    environment_s = _seconds(lambda: envs.step(next(actions)))
    actor, critic = MLP(4, (64, 64), 2), MLP(4, (64, 64), 1)
    few, many = torch.randn(NUM_ENVS, 4), torch.randn(NUM_ENVS * NUM_STEPS, 4)
    with torch.no_grad():
        forward_s = _seconds(lambda: actor(few))
    parameters = [*actor.parameters(), *critic.parameters()]
    adamw = AdamW(parameters, weight_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-5)
    gradients: list[Tensor] = [torch.randn(len(many), 2), torch.randn(len(many), 1)]

    @torch.no_grad()
    def update() -> None:
        for mlp, gradient in zip((actor, critic), gradients, strict=True):
            weights = weights_of(mlp)
            inputs, _ = tanh_layers(many, weights)
            for weight, grad in zip(weights, layer_gradients(gradient, inputs, weights), strict=True):
                weight.grad = grad
        adamw.step(1e-9)
        adamw.clear_gradients()

    update_s = _seconds(update)
    total = NUM_STEPS * (environment_s + forward_s) + EPOCHS * update_s
    return {
        "environment_alone_steps_per_s": NUM_ENVS / environment_s,
        "forward_alone_us": 1e6 * forward_s,
        "update_alone_us": 1e6 * update_s,
        "limit_steps_per_s": NUM_ENVS * NUM_STEPS / total,
    }


def _seconds(call: Callable[[], Any], number: int = 3000) -> float:
    """CPU time of a call: the median."""
    times = []
    for _ in range(number):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return float(np.median(times[number // 10 :]))


def cold_start(command: list[str], metrics: Path | None) -> dict[str, Any]:
    """Run a command; wall-clock seconds until the first evaluation that solves, until that is known, and until the end.

    Args:
        command: prints each evaluation's return in a line of its own, or writes `metrics`.
        metrics: where `seqrl train` writes its figures.
    """
    start, seen = time.perf_counter(), []
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE if metrics is None else errors, stderr=errors, text=True, cwd=ROOT)
        try:
            for value in _printed(process) if metrics is None else _written(process, metrics):
                seen.append((time.perf_counter() - start, value))
            process.wait()
        finally:
            process.kill()  # where a signal ended this one
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{errors.read()}")
    returns, first = [value for _, value in seen], solved_at([value for _, value in seen])
    return {
        "solved_s": None if first is None else seen[first][0],
        "known_s": None if first is None else seen[first + 2][0],
        "whole_run_s": time.perf_counter() - start,
        "stays": stays(returns, first),
        "evaluations": len(returns),
        "returns": returns,
    }


def _printed(process: subprocess.Popen[str]) -> Iterator[float]:
    assert process.stdout is not None
    yield from (float(line) for line in process.stdout)


def _written(process: subprocess.Popen[str], metrics: Path) -> Iterator[float]:
    """Read the evaluations while they are being written."""
    position, running = 0, True
    while running:
        running = process.poll() is None
        if metrics.exists():
            lines = metrics.read_bytes()[position:].split(b"\n")[:-1]
            position += sum(len(line) + 1 for line in lines)
            yield from (json.loads(line)["dev/return_mean"] for line in lines if b"dev/return_mean" in line)
        time.sleep(0.01)


def cold_starts(seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "seqrl", "train", str(FAST), f"--seed={seed}", f"--runs_folder={folder}"]
        peer = [sys.executable, __file__, "--peer-alone", str(seed)]
        rows = {"ours": cold_start(ours, Path(folder) / FAST.stem / "metrics.jsonl"), "stable_baselines3": cold_start(peer, None)}
    for name, row in rows.items():
        shown = {key: row[key] for key in ("solved_s", "known_s", "whole_run_s", "stays") if row[key] is not None}
        print(f"seed {seed}, cold start  {name:18s} " + "  ".join(f"{key} {value:.2f}" for key, value in shown.items()), flush=True)
    return rows


def describe(name: str, run: Learning, limit: float) -> dict[str, Any]:
    first = solved_at(run.returns)
    row = {
        **asdict(run),
        "of_limit": run.steps_per_s / limit,
        "solved_steps": None if first is None else run.steps[first],
        "solved_s": None if first is None else run.seconds[first],
        "stays": stays(run.returns, first),
    }
    solved = "never" if first is None else f"after {row['solved_steps']:6,} steps, {row['solved_s']:5.2f} s"
    print(
        f"{name:18s} {run.steps_per_s:8,.0f} steps/s  {row['of_limit']:5.0%} of the limit  solved {solved}  stays {row['stays']:4.0%}",
        flush=True,
    )
    return row


def rates(seed: int, num_updates: int) -> dict[str, Any]:
    limit = limits()
    print(f"seed {seed}: " + "  ".join(f"{key} {value:,.0f}" for key, value in limit.items()), flush=True)
    ours = describe("this project", run_ours(seed, num_updates), limit["limit_steps_per_s"])
    peer = describe("Stable-Baselines3", run_peer(seed, num_updates), limit["limit_steps_per_s"])
    ratio = ours["steps_per_s"] / peer["steps_per_s"]
    print(f"ratio {ratio:.2f}", flush=True)
    return {"limit": limit, "ours": ours, "stable_baselines3": peer, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=390)
    parser.add_argument("--parts", default="rates,cold")
    parser.add_argument("--peer-alone", type=int, metavar="SEED", help="only train the peer, and print its evaluations")
    parser.add_argument("--output", type=Path, default=RESULTS / "agents.json")
    add_arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peer_alone is not None:
        run_peer(args.peer_alone, args.updates, say=lambda value: print(value, flush=True))
        return
    require_clean(allow_dirty=args.allow_dirty)
    asked = [int(seed) for seed in args.seeds.split(",")]
    seeds: dict[str, Any] = {}
    report = {"provenance": provenance(asked, threads=1), "updates": args.updates, "seeds": seeds}
    for seed in map(str, asked):
        if "rates" in args.parts.split(","):
            seeds.setdefault(seed, {}).update(rates(int(seed), args.updates))
        if "cold" in args.parts.split(","):
            seeds.setdefault(seed, {})["cold_start"] = cold_starts(int(seed))
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    from seqrl.run.interrupt import run_command

    sys.exit(run_command(main, name="agents.py"))
