"""What a slow reward costs a self-critical update: computed at once, in worker processes, ahead, or both.

python benchmarks/slow_rewards.py

16 images with 5 samples and a greedy baseline, built-in scenes, one thread. The reward takes as long as the rest of an update, which is
measured first: `waits` sleeps, as a judge on another machine does; `computes` counts in Python. Updates of all settings are made in
turn, so that other work on the machine meets them alike; what is compared is the median second of an update. Writes
benchmarks/results/slow_rewards.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.run.interrupt import run_command
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.writing.reward import RewardConfig

NUM_CAPTIONS = 16 * 5 + 16
SETTINGS = {"at once": (0, 0), "two workers": (2, 0), "ahead": (0, 1), "ahead, two workers": (2, 1)}


def waits(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Score by the number of words, after some time."""
    time.sleep(float(os.environ["SECONDS_A_CAPTION"]) * len(captions))
    return [float(len(set(caption.split()))) for caption in captions]


def computes(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Score by the number of words, after some work."""
    for _ in captions:
        end = time.thread_time() + float(os.environ["SECONDS_A_CAPTION"])
        while time.thread_time() < end:
            sum(range(100))
    return [float(len(set(caption.split()))) for caption in captions]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    results: dict[str, Any] = {"provenance": provenance([0]), "update_s": {}}
    for function in ("none", "waits", "computes"):
        results["update_s"][function] = found = measure(function, arguments.rounds)
        for name, seconds in found.items():
            print(f"{function}, {name}: {seconds:.3f} s an update, {seconds / found['at once']:.2f} of at once", flush=True)
        if function == "none":  # workers inherit it
            os.environ["SECONDS_A_CAPTION"] = str(found["at once"] / NUM_CAPTIONS)
    write_results(RESULTS / "slow_rewards.json", results)


def measure(function: str, rounds: int) -> dict[str, float]:
    """Give the median seconds of an update by setting."""
    from seqrl import SelfCriticalConfig

    settings = DataConfig(image_size=16, scenes=ScenesConfig(num_train=200, num_dev=4, num_test=2))
    data = load_data(settings)
    runs, seconds = {}, {name: list[float]() for name in SETTINGS if function != "none" or name == "at once"}
    for name in seconds:
        workers, ahead = SETTINGS[name]
        reward = RewardConfig() if function == "none" else RewardConfig(function=f"slow_rewards:{function}", workers=workers, ahead=ahead)
        torch.manual_seed(0)
        task = CaptioningTask(CaptioningConfig(policy=PolicyConfig(dim=64), reward=reward, data=settings), data)
        trainer = SelfCriticalConfig(baseline="greedy").build(task.build_policy(), seed=0, num_updates=rounds)
        trainer.update(trainer.collect(task))
        runs[name] = trainer, task
    for _ in range(rounds):
        for name, (trainer, task) in runs.items():
            trainer.update(trainer.collect(task))  # what was computed ahead before this turn is waited for here
            start = time.perf_counter()
            for _ in range(3):
                trainer.update(trainer.collect(task))
            seconds[name].append((time.perf_counter() - start) / 3)
            if task.reward_ahead:
                time.sleep(float(os.environ["SECONDS_A_CAPTION"]) * NUM_CAPTIONS)  # so that it does not go on in another one's turn
    return {name: median(times) for name, times in seconds.items()}


if __name__ == "__main__":
    sys.exit(run_command(main, name="slow_rewards.py"))
