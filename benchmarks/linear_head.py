"""Compare time and memory of a linear head's pieces with autograd over all logits, forward and backward.

    python benchmarks/linear_head.py [--sizes 800x128x60,1600x256x50257] [--entropy]

Each line is steps x features x words. Times are CPU time, the least of several; memory is what the process's peak rises by, each
way in a process of its own. One thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from seqrl.policies.token_evaluation import LinearHead, evaluate_tokens
from seqrl.run.interrupt import run_command
from seqrl.trajectory import Trajectory

SIZES = "800x128x60,800x256x3000,1600x256x50257,1600x768x50257"


def measure(steps: int, dim: int, words: int, *, plain: bool, with_entropy: bool, seconds: float = 2.0) -> tuple[float, float]:
    """Give the CPU milliseconds of a forward and backward pass, and by how many MiB it raises the process's peak."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(steps, dim, generator=generator).requires_grad_()
    weight = (torch.randn(words, dim, generator=generator) * 0.05).requires_grad_()
    ones, zeros, none = torch.ones(1, steps, dtype=torch.bool), torch.zeros(1, steps), torch.zeros(1, steps, dtype=torch.bool)
    actions = torch.randint(words, (1, steps), generator=generator)
    rows = Trajectory(actions, zeros, torch.zeros(1, steps + 1), zeros, none, none, ones)
    head: Any = LinearHead(weight)
    head = head.__call__ if plain else head
    before, least, stop = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        features.grad = weight.grad = None
        start = time.process_time()
        evaluation = evaluate_tokens(features, head, rows, wrong=(0, 1))
        (evaluation.logp.sum() + (evaluation.entropy.sum() if with_entropy else 0)).backward()
        least = min(least, time.process_time() - start)
    return least * 1e3, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def alone(arguments: tuple[int, int, int], **settings: bool) -> tuple[float, float]:
    """Measure in a process of its own, whose peak is nobody else's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments, settings)


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--entropy", action="store_true", help="learn from the entropy, too")
    options = parser.parse_args()
    for size in options.sizes.split(","):
        steps, dim, words = (int(number) for number in size.split("x"))
        (ours, peak), (theirs, their_peak) = (
            alone((steps, dim, words), plain=plain, with_entropy=options.entropy) for plain in (False, True)
        )
        print(
            f"{size}: pieces {ours:.1f} ms, {peak:.0f} MiB; all logits {theirs:.1f} ms, {their_peak:.0f} MiB; ratio {theirs / ours:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(run_command(main, name="linear_head.py"))
