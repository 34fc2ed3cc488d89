"""What a GPU makes of it: self-critical captioning beside `generate`, PPO on Pong beside a plain loop, an epoch of recurrent attention.

    python benchmarks/gpu.py [--seeds 0,1,2] [--dry-run]

Three parts, each in turn with its peer in one process, after a first turn that does not count; seconds are wall-clock with the device
waited for. The captioner is `captioning.py`'s of 200M parameters, in fp32 and in bf16: a step is 16 images, a greedy caption and five
samples for each, CIDEr-D, one step of AdamW; the `loop` is the one that a reader of transformers' manual writes, the `careful` one
encodes each image once. Pong is 8 games, 128 steps, 4 epochs of 4 minibatches; the plain loop is that of a single file: a network of
torch, actions one step after another, Adam. (LeanRL, on an H100, publishes 6.8 times CleanRL's rate for its compiled PPO on Atari.)
The epoch is 60,000 images of 48x48 pixels through six glimpses. `--dry-run` does a little of each, on whatever there is, and writes
nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from competitors import run_benchmark
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from torch import Tensor, nn

NUM_IMAGES_OF_AN_EPOCH, NUM_ENVS, NUM_STEPS, EPOCHS, MINIBATCHES = 60_000, 8, 128, 4, 4


def device() -> torch.device:
    """Give the accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def seconds(call: Callable[[], Any]) -> float:
    """Time a call, and what it has begun on the device."""
    start = time.perf_counter()
    call()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time some calls in turn; the first turn does not count."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in sorted(calls, reverse=bool(turn % 2)):
            taken = seconds(calls[name])
            if turn:
                found[name].append(taken)
    return found


def captioning(seed: int, *, dry: bool) -> dict[str, list[float]]:
    """Time steps of self-critical training: ours, the loop of the manual, and the one that encodes once."""
    from captioning import Ours, make_sides

    from seqrl.optimiser_config import OptimiserConfig
    from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig

    found: dict[str, list[float]] = {}
    for precision in ("fp32", "bf16"):
        sides = make_sides("10M" if dry else "200M", "ends", seed, ["ours", "loop", "careful"])
        calls: dict[str, Callable[[], Any]] = {}
        for name, side in sides.items():
            if isinstance(side, Ours):
                optimiser = OptimiserConfig(learning_rate=1e-7, precision=precision)  # type: ignore[arg-type]
                config = SelfCriticalConfig(baseline="greedy", num_samples=5, optimiser=optimiser)
                side.trainer = SelfCritical(side.trainer.policy, config, seed=seed)
                side.trainer.policy.eval()
            else:
                side.model.to(device())
                side.pixels = side.pixels.to(device())
            calls[f"{name}_{precision}"] = partial(_under, side.step, precision)
        found |= in_turn(calls, 1 if dry else 8)
    return found


def _under(step: Callable[[], Any], precision: str) -> None:
    with torch.autocast(device().type, torch.bfloat16) if precision == "bf16" else nullcontext():
        step()


class PlainPong:
    """PPO on Pong as one file has it: eager acting, whole minibatches, Adam."""

    def __init__(self, seed: int) -> None:
        from seqrl.tasks.atari.games import AtariGames

        torch.manual_seed(seed)
        self.games = AtariGames("pong", NUM_ENVS)
        self.frames = self._seen(self.games.reset(seed=seed)[0])
        convolutions = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU()]
        self.trunk = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU()).to(device())
        self.actor, self.critic = nn.Linear(512, 6).to(device()), nn.Linear(512, 1).to(device())
        self.parameters = [*self.trunk.parameters(), *self.actor.parameters(), *self.critic.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=2.5e-4, eps=1e-5)

    def update(self) -> None:
        """Collect 128 steps of 8 games, and learn from them four times."""
        columns: dict[str, list[Tensor]] = {name: [] for name in ("frames", "action", "logp", "value", "reward", "done")}
        with torch.no_grad():
            for _ in range(NUM_STEPS):
                hidden = self.trunk(self.frames / 255.0)
                chances = torch.distributions.Categorical(logits=self.actor(hidden))
                action = chances.sample()
                frames, reward, terminated, truncated, _ = self.games.step(action.cpu().numpy())
                row = (self.frames, action, chances.log_prob(action), self.critic(hidden)[:, 0])
                told = [torch.as_tensor(x, dtype=torch.float32).to(device()) for x in (reward, terminated | truncated)]
                for column, value in zip(columns.values(), (*row, *told), strict=True):
                    column.append(value)
                self.frames = self._seen(frames)
            following = self.critic(self.trunk(self.frames / 255.0))[:, 0]
        rows = {name: torch.stack(column) for name, column in columns.items()}
        advantage, running = torch.zeros_like(rows["value"]), torch.zeros_like(following)
        for step in reversed(range(NUM_STEPS)):
            left = 1.0 - rows["done"][step]
            running = rows["reward"][step] + 0.99 * following * left - rows["value"][step] + 0.99 * 0.95 * left * running
            advantage[step], following = running, rows["value"][step]
        target = advantage + rows["value"]
        flat = {name: column.flatten(0, 1) for name, column in (rows | {"advantage": advantage, "target": target}).items()}
        for _ in range(EPOCHS):
            for index in torch.randperm(NUM_ENVS * NUM_STEPS, device=device()).chunk(MINIBATCHES):
                self._learn({name: column[index] for name, column in flat.items()})

    def _learn(self, part: dict[str, Tensor]) -> None:
        hidden = self.trunk(part["frames"] / 255.0)
        chances = torch.distributions.Categorical(logits=self.actor(hidden))
        ratio = (chances.log_prob(part["action"]) - part["logp"]).exp()
        gain = (part["advantage"] - part["advantage"].mean()) / (part["advantage"].std() + 1e-8)
        policy = torch.max(-gain * ratio, -gain * ratio.clamp(0.9, 1.1)).mean()
        value = 0.5 * (self.critic(hidden)[:, 0] - part["target"]).square().mean()
        self.adam.zero_grad()
        (policy - 0.01 * chances.entropy().mean() + 0.5 * value).backward()
        nn.utils.clip_grad_norm_(self.parameters, 0.5)
        self.adam.step()

    @staticmethod
    def _seen(frames: Any) -> Tensor:
        return torch.as_tensor(frames).to(device()).permute(0, 3, 1, 2).float()


def pong(seed: int, *, dry: bool) -> dict[str, list[float]]:
    """Time an update of PPO on Pong, collecting included."""
    from seqrl.run.config import read_config
    from seqrl.run.train import build

    found: dict[str, Callable[[], Any]] = {"plain": PlainPong(seed).update}
    for precision in ("fp32",) if dry else ("fp32", "bf16"):
        changes = [f"--seed={seed}", f"--task.precision={precision}", "--num_updates=10000", f"--trainer.optimiser.precision={precision}"]
        config = read_config(ROOT / "configs" / "atari" / "pong_ppo.yaml", changes)
        task, policy = build(config)
        trainer = config.trainer.build(policy, seed=seed, num_updates=10_000)
        found[precision] = lambda trainer=trainer, task=task: trainer.update(trainer.collect(task))  # type: ignore[misc]
    return in_turn(found, 1 if dry else 6)


def attention(seed: int, *, dry: bool) -> float:
    """Give the seconds of an epoch of 60,000 images; of a few images, carried over, in a dry run."""
    from seqrl.run.config import read_config
    from seqrl.run.train import build

    changes = [f"--seed={seed}", "--task.images_per_batch=512", "--trainer.optimiser.precision=fp32"]
    config = read_config(ROOT / "configs" / "attention" / "digits_translated.yaml", changes)
    task, policy = build(config)
    trainer = config.trainer.build(policy, seed=seed, num_updates=10_000)
    number, rounds = -(-NUM_IMAGES_OF_AN_EPOCH // 512), 2 if dry else -(-NUM_IMAGES_OF_AN_EPOCH // 512)
    trainer.update(trainer.collect(task))
    return number / rounds * seconds(lambda: [trainer.update(trainer.collect(task)) for _ in range(rounds)])


def main() -> None:
    """Measure the three, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--dry-run", action="store_true", help="a little of each, to see that it runs")
    parser.add_argument("--parts", default="captioning,pong,attention")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty or args.dry_run)
    seeds = [int(seed) for seed in args.seeds.split(",")][: 1 if args.dry_run else None]
    found: dict[str, dict[str, Any]] = {}
    for part in args.parts.split(","):
        for seed in seeds:
            measured = {"captioning": captioning, "pong": pong, "attention": attention}[part](seed, dry=args.dry_run)
            times = measured if isinstance(measured, dict) else {"epoch": [measured]}
            for name, values in times.items():
                found.setdefault(part, {}).setdefault(name, []).extend(values)
        medians = {name: statistics.median(values) for name, values in found[part].items()}
        print(part, {name: f"{median:.3f} s" for name, median in medians.items()}, flush=True)
        for ours, theirs in (
            ("ours_fp32", "loop_fp32"),
            ("ours_fp32", "careful_fp32"),
            ("ours_bf16", "loop_bf16"),
            ("fp32", "plain"),
            ("bf16", "plain"),
        ):
            if ours in medians and theirs in medians:
                print(f"{part}: {ours} is {medians[theirs] / medians[ours]:.2f} times as fast as {theirs}", flush=True)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    if not args.dry_run:
        write_results(RESULTS / "gpu.json", {"gpu": name, "seconds": found, "provenance": provenance(seeds)})


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
