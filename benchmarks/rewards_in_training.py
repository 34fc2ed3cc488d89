"""CIDEr-D inside self-critical updates: our scoring of each sampled batch against pycocoevalcap's, in the same loop.

    python benchmarks/rewards_in_training.py --seeds 0,1,2
    python benchmarks/rewards_in_training.py --seeds 0,1,2 --metrics spice,meteor,rouge_l

16 images with 5 samples and 5 references each, built-in scenes, one thread. Times are CPU time, since other work on the machine
would meet the longer calls more often; of the same batches in turn. Where metrics are named, these and ours alone: captions a second,
and the share of the reward in an update.
Writes benchmarks/results/rewards_in_training.json, or rewards_in_training_metrics.json where metrics are named.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from typing import Any

import numpy as np
import torch
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from pycocoevalcap.cider.cider import Cider

from seqrl.metrics.by_name import higher_is_better
from seqrl.run.interrupt import run_command
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.writing import reward
from seqrl.trajectory import Trajectory


def peer_seconds(task: CaptioningTask, trajectory: Trajectory) -> float:
    """Score a batch with pycocoevalcap as trainers do, decoding of the tokens not counted."""
    assert trajectory.group is not None
    rows = zip(trajectory.action.tolist(), trajectory.group.tolist(), strict=True)
    references, hypotheses = {}, {}
    for number, (tokens, item) in enumerate(rows):
        hypotheses[number] = [" ".join(task.vocabulary.decode(tokens))]
        references[number] = [" ".join(words) for words in task.data.train.words[item]]
    start = time.process_time()
    Cider().compute_score(references, hypotheses)
    return time.process_time() - start


def run_seed(seed: int, updates: int) -> dict[str, float]:
    """Train for some updates; give both rates in captions a second."""
    from seqrl import SelfCriticalConfig

    torch.manual_seed(seed)
    config = CaptioningConfig()
    config.reward.score_end = False
    task = CaptioningTask(config, load_data(DataConfig()), seed=seed)
    trainer = SelfCriticalConfig().build(task.build_policy(), seed=seed, num_updates=updates)
    ours, peer = [], []
    for _ in range(updates):
        before = task.seconds_in_reward
        trajectory = trainer.collect(task)
        ours.append(task.seconds_in_reward - before)
        trainer.update(trajectory)
        peer.append(peer_seconds(task, trajectory))
    batch = trajectory.batch_size
    rates = {"ours": batch / float(np.median(ours)), "pycocoevalcap": batch / float(np.median(peer))}
    return rates | {"ratio": rates["ours"] / rates["pycocoevalcap"]}


def run_metric(name: str, seed: int, updates: int) -> dict[str, float]:
    """Train for some updates on a metric; give its captions a second and its share of an update's time."""
    from seqrl import SelfCriticalConfig

    torch.manual_seed(seed)
    config = CaptioningConfig()
    config.reward.metrics = {name: 1.0 if higher_is_better(name) else -1.0}
    task = CaptioningTask(config, load_data(DataConfig()), seed=seed)
    trainer = SelfCriticalConfig().build(task.build_policy(), seed=seed, num_updates=updates)
    rewards, shares = [], []
    batch = 0
    for _ in range(updates):
        before, start = task.seconds_in_reward, time.process_time()
        trajectory = trainer.collect(task)
        trainer.update(trajectory)
        rewards.append(task.seconds_in_reward - before)
        shares.append(rewards[-1] / (time.process_time() - start))
        batch = trajectory.batch_size
    # The first updates load tables and meet every caption for the first time; the last ones are those of a long training.
    late = slice(updates // 2, None)
    first, last = batch / float(np.median(rewards[: updates // 2])), batch / float(np.median(rewards[late]))
    return {"captions_per_second_first_half": first, "captions_per_second": last, "share": float(np.median(shares[late]))}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--metrics", default="", help="metrics to reward in place of the comparison, names with commas between")
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    torch.set_num_threads(1)
    reward.time = types.SimpleNamespace(perf_counter=time.process_time)  # type: ignore[attr-defined]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    results: dict[str, Any] = {"provenance": provenance(seeds), "updates": arguments.updates}
    names = [name.strip() for name in arguments.metrics.split(",") if name.strip()]
    if names:
        results["metrics"] = {}
        for name in names:
            rows = results["metrics"][name] = {seed: run_metric(name, seed, arguments.updates) for seed in seeds}
            median = {key: float(np.median([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
            print(f"{name}: {median['captions_per_second']:,.0f} captions a second, {100 * median['share']:.1f}% of an update", flush=True)
        write_results(RESULTS / "rewards_in_training_metrics.json", results)
        return
    results["seeds"] = {}
    for seed in seeds:
        results["seeds"][seed] = rates = run_seed(seed, arguments.updates)
        print(f"seed {seed}: ours {rates['ours']:,.0f}/s, pycocoevalcap {rates['pycocoevalcap']:,.0f}/s, ratio {rates['ratio']:.0f}")
    write_results(RESULTS / "rewards_in_training.json", results)


if __name__ == "__main__":
    sys.exit(run_command(main, name="rewards_in_training.py"))
