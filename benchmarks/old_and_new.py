"""Time what three benchmarks measure at two commits, in turns: how many times as fast is the new one?

    SEQRL_DATA=/folder/of/data python benchmarks/old_and_new.py --old COMMIT [--turns 12] [--pieces agents,attention]

The pieces are the inner loops of `agents.py` (PPO on CartPole, collecting and update), `rewards_in_training.py` (CIDEr-D of each
sampled batch, scored a hundred times, since a score takes a hundredth of an update; and the whole self-critical update) and
`attention.py` (six glimpses of 8x8, batches of 128, fp32).

In every turn both commits start a process of their own, warm up, and then work alternately, half a second each, on one core and
one thread; the ratio of a turn is that of their CPU seconds for the same updates. New processes a turn, since where things
lie in memory changes speed by a percent. Reported: the median of the turns' ratios, above 1 where the new commit is faster, with
a 95% interval by bootstrap over turns. Each commit reads its own configurations.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from competitors import ROOT, checked_out, run_benchmark
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

SLICE_S, SLICES = 0.5, 10
FP32 = "--trainer.optimiser.precision=fp32"
MNIST = ["--task.policy.precision=fp32", "--task.images_per_batch=128", "--task.data.num_dev=1"]
PIECES = {  # configuration, what is changed of it, and the clock that is read
    "agents": ("cartpole_ppo_tuned", [FP32], "update"),
    "rewards_in_training": ("scenes_self_critical", [FP32], "reward"),
    "self_critical": ("scenes_self_critical", [FP32], "update"),
    "attention": ("mnist_6x8", [FP32, *MNIST], "update"),
}

# Runs in either tree, so it uses only what both have.
CHILD = """
import json, sys, time, types
from pathlib import Path
from seqrl.run.config import read_config
from seqrl.run.train import build
import torch
from seqrl.tasks.writing import reward

torch.set_num_threads(1)
reward.time = types.SimpleNamespace(perf_counter=time.process_time)
job = json.loads(sys.stdin.readline())
(path,) = Path("configs").rglob(job["config"] + ".yaml")
config = read_config(path, job["changes"])
task, policy = build(config)
trainer = config.trainer.build(policy, seed=0, num_updates=10**6)
if job["clock"] == "reward":
    scorer = task._rollouts._reward
    once = scorer.score
    def score(*arguments):
        for _ in range(99):
            once(*arguments)
        return once(*arguments)
    scorer.score = score
for line in sys.stdin:
    start, before = time.process_time(), getattr(task, "seconds_in_reward", 0.0)
    for _ in range(int(line)):
        trainer.update(trainer.collect(task))
    seconds = {"update": time.process_time() - start, "reward": getattr(task, "seconds_in_reward", 0.0) - before}
    print("@" + json.dumps(seconds), flush=True)
"""


class Worker:
    """A process that trains one piece with the code of one tree, as many updates at a time as it is told."""

    def __init__(self, tree: Path, name: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", CHILD], cwd=tree, env=environment, text=True, **pipes)
        self._say(json.dumps(dict(zip(("config", "changes", "clock"), PIECES[name], strict=True))))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def advance(self, num_updates: int) -> dict[str, float]:
        """Do some updates; give the CPU seconds of each clock.

        Raises:
            RuntimeError: with what the process said when it ended.
        """
        self._say(str(num_updates))
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                seconds: dict[str, float] = json.loads(line[1:])
                return seconds
        raise RuntimeError(f"{self.process.args}: ended before its time:\n{self.process.communicate()[1][-2000:]}")

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def turn(trees: Sequence[Path], name: str, *, new_first: bool) -> float:
    """Let both commits work on a piece alternately; give old seconds divided by new ones."""
    clock, totals = PIECES[name][2], [0.0, 0.0]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(tree, name)) for tree in trees]
        for worker in workers:
            worker.advance(3)  # compiles, fills caches
        once = workers[0].advance(2)["update"] / 2
        workers[1].advance(2)  # so that both go on from the same update
        num_updates = max(1, round(SLICE_S / once))
        for part in range(SLICES):
            for which in (1, 0) if (part % 2 == 0) == new_first else (0, 1):
                totals[which] += workers[which].advance(num_updates)[clock]
    return totals[0] / totals[1]


def median_with_interval(ratios: Sequence[float]) -> tuple[float, list[float]]:
    """Give the median and its 95% interval by a percentile bootstrap."""
    drawn = np.random.default_rng(0).choice(np.array(ratios), (10_000, len(ratios)))
    return statistics.median(ratios), np.percentile(np.median(drawn, axis=1), [2.5, 97.5]).tolist()


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True, metavar="COMMIT")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--pieces", default=",".join(PIECES))
    parser.add_argument("--output", type=Path, default=RESULTS / "old_and_new.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # they take turns, so one core is enough
    results: dict[str, Any] = {"provenance": provenance([0], threads=1), "load_average_before": os.getloadavg(), "pieces": {}}
    with checked_out(args.old) as (commit, tree):
        results["old"] = commit
        for name in args.pieces.split(","):
            ratios = [turn((tree, ROOT), name, new_first=number % 2 == 1) for number in range(args.turns)]
            median, (low, high) = median_with_interval(ratios)
            results["pieces"][name] = {"median_ratio": median, "interval": [low, high], "ratios": ratios}
            print(f"{name:20s} {median:.3f} times as fast ({low:.3f} to {high:.3f}, {len(ratios)} turns)", flush=True)
    write_results(args.output, results | {"load_average_after": os.getloadavg()})
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
