"""Follow axons at sub-pixel resolution: PPO and REINFORCE, beside the greedy ridge follower.

    python benchmarks/tracking.py --seeds 0,1,2
    python benchmarks/tracking.py --alone runs/configs/COMMIT
    python benchmarks/tracking.py --figure runs/configs/COMMIT/tracking_ppo_seed0

Trains the configurations, one thread, with a small dev evaluation at the start and the end, and follows the axons of the same 200 test
images, none of which training has shown: mean error in pixels and coverage in benchmarks/results/tracking.json. The ridge follower's ray
is chosen on dev. The second command lets the trained policies follow axons in images without others, as the paper's are; the third draws
four unseen images with the tracks of a run and of the ridge follower, docs/figures/tracking.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from competitors import run_benchmark, whole
from numpy.typing import NDArray
from provenance import RESULTS, ROOT, add_arguments, provenance, require_clean, write_results
from torch import nn

from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import load, train
from seqrl.tasks.control.task import EVALUATION_SEEDS, ControlConfig, EnvTask
from seqrl.tasks.tracking.ridge import RidgeFollower

RAYS_PX = (2.0, 3.0, 4.0, 5.0)
CONFIGS = ("tracking_ppo", "tracking_reinforce")
NUM_SHOWN = 4


def run_seed(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train a configuration, and follow the axons of test."""
    settings = [f"--seed={seed}", f"--name={name}_seed{seed}", f"--runs_folder={folder}", "--task.num_eval_episodes=50", "--save_every=0"]
    config = read_config(name, [*settings, f"--eval_every={read_config(name).num_updates}"])
    start = time.process_time()
    whole(train(config, overwrite=True, display=False))
    spent = time.process_time() - start
    policy = load(config.run_folder)[2]
    env_steps = read_metrics(config.run_folder)[-1]["progress/num_env_steps"]
    test = task_of(name).evaluate(policy, split="test")
    return {"test": test, "env_steps": env_steps, "processor_s": spent, "provenance": provenance([seed])}


def follow_alone(folder: Path, results: dict[str, Any]) -> None:
    """Let the policies of runs follow axons in images without others, which they were not trained on."""
    for name in CONFIGS:
        task = task_of(name, environment_options={"num_others": 0})
        for seed in results["runs"].get(name, {}):
            test = task.evaluate(load(folder / f"{name}_seed{seed}")[2], split="test")
            results.setdefault("alone", {}).setdefault(name, {})[seed] = {"test": test, "provenance": provenance([int(seed)])}
            print(f"{name}, seed {seed}, alone: {test}", flush=True)


def ridge_follower() -> dict[str, Any]:
    """Choose the length of the rays by the coverage on dev, and follow the axons of test; also of images without other axons."""
    task = task_of("tracking_ppo")
    tried = {ray: task.evaluate(RidgeFollower(ray_px=ray), split="dev") for ray in RAYS_PX}
    ray = max(tried, key=lambda ray: tried[ray]["coverage"])
    policy = RidgeFollower(ray_px=ray)
    alone = task_of("tracking_ppo", environment_options={"num_others": 0}).evaluate(policy, split="test")
    return {"ray_px": ray, "test": task.evaluate(policy, split="test"), "without_others": alone, "provenance": provenance([])}


def task_of(name: str, **changes: Any) -> EnvTask:
    """Make the task of a configuration."""
    config = read_config(name).task
    assert isinstance(config, ControlConfig)
    return replace(config, num_envs=2, **changes).build(0)


def last_frames(task: EnvTask, policy: nn.Module, path: Path) -> NDArray[np.uint8]:
    """Give the tracks of a policy on four images that training has not shown, side by side."""
    from PIL import Image

    task.record(policy, path, episodes=NUM_SHOWN, seed=EVALUATION_SEEDS["test"])
    return np.concatenate(np.split(np.asarray(Image.open(path)), NUM_SHOWN), axis=1)


def draw(run: Path, path: Path) -> None:
    """Draw both followers' tracks, the run's above the ridge follower's."""
    from PIL import Image

    _, task, policy, _ = load(run)
    part = path.with_name("tracking_part.png")
    rows = [last_frames(task, policy, part), last_frames(task, RidgeFollower(), part)]  # type: ignore[arg-type]
    part.unlink()
    Image.fromarray(np.concatenate(rows)).quantize(64, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and evaluate what is missing, writing after each run; or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=CONFIGS, action="append", help="this configuration alone")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "configs")
    parser.add_argument("--output", type=Path, default=RESULTS / "tracking.json")
    parser.add_argument("--alone", type=Path, metavar="FOLDER", help="evaluate the runs in this folder on images without other axons")
    parser.add_argument("--figure", type=Path, metavar="RUN", help="draw docs/figures/tracking.png of this run, and measure nothing")
    add_arguments(parser)
    known = parser.parse_args(arguments)
    if known.figure:
        draw(known.figure, ROOT / "docs" / "figures" / "tracking.png")
        return
    require_clean(allow_dirty=known.allow_dirty)
    results: dict[str, Any] = json.loads(known.output.read_text(encoding="utf-8")) if known.output.is_file() else {"runs": {}}
    if known.alone:
        follow_alone(known.alone, results)
        write_results(known.output, results)
        return
    if not known.only:
        results["ridge"] = ridge_follower()
        print(f"ridge follower: {results['ridge']}", flush=True)
    folder = known.runs / (provenance([])["commit"] or "no_commit")[:10]
    for name in known.only or CONFIGS:
        for seed in known.seeds.split(","):
            record = run_seed(name, int(seed), folder)
            results["runs"].setdefault(name, {})[seed] = record
            write_results(known.output, results)
            print(f"{name}, seed {seed}: {record['test']}  {record['processor_s']:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
