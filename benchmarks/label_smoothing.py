"""Smoothed labels over every token, or only over those that can be right: held-out cross-entropy on Flickr8k.

SEQRL_DATA=/folder/of/data python benchmarks/label_smoothing.py --seeds 0,1,2 --updates 150 [--field.field=value ...]

Trains configs/captioning/flickr8k_xe.yaml twice for each seed, small and short, and prints the cross-entropy of the captions of 200 dev
images, nats a token, and the probability that the policy gives to tokens that are never right, mean over their steps.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
from pathlib import Path

import torch

from seqrl.run.config import read_config
from seqrl.run.interrupt import run_command
from seqrl.tasks.captioning.task import CaptioningTask

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "captioning" / "flickr8k_xe.yaml"
SMALL = ("--task.data.image_size=64", "--task.policy.dim=96", "--trainer.optimiser.warmup_updates=30", "--trainer.optimiser.precision=fp32")
NUM_IMAGES = 200


def held_out(policy: torch.nn.Module, task: CaptioningTask, wrong: list[int]) -> tuple[float, float]:
    """Give the cross-entropy of a task's captions and the probability of tokens that are never right, means over tokens."""
    rows = task.demonstrations(torch.arange(NUM_IMAGES))
    with torch.no_grad():
        loss = -policy(rows).logp[rows.imitate].mean()
        chances = [policy(rows.replace(action=torch.full_like(rows.action, token))).logp.exp()[rows.imitate].mean() for token in wrong]
    return float(loss), float(sum(chances))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=150)
    arguments, changes = parser.parse_known_args()
    torch.set_num_threads(1)
    for seed in map(int, arguments.seeds.split(",")):
        config = read_config(CONFIG, [f"--seed={seed}", f"--num_updates={arguments.updates}", *SMALL, *changes])
        task = config.task.build(seed)
        other = CaptioningTask(config.task, dataclasses.replace(task.data, train=task.data.dev))
        first = task.build_policy()
        for name in ("every token", "tokens that can be right"):
            policy, task = copy.deepcopy(first), CaptioningTask(config.task, task.data, seed=seed)
            wrong = list(policy.wrong)
            if name == "every token":
                policy.wrong = ()
            trainer = config.trainer.build(policy, seed=seed, num_updates=config.num_updates)
            torch.manual_seed(seed)  # of dropout
            for _ in range(config.num_updates):
                trainer.update(trainer.collect(task))
            loss, chance = held_out(policy.eval(), other, wrong)
            print(f"seed {seed}, {name}: {loss:.4f} nats a token, {chance:.5f} on what is never right", flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main, name="label_smoothing.py"))
