"""A run says so when all glimpses go to one point, and not before it is time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import small_task

from seqrl import Optimiser, OptimiserConfig, policy_gradient
from seqrl.run.config import read_config
from seqrl.run.run_warnings import StagnationMonitor
from seqrl.run.train import train

FOREVER = "--trainer.optimiser.learning_rate=1e-9"


@pytest.mark.parametrize(
    ("changes", "told_at"),
    [
        ([FOREVER, "--task.start=centre"], [50]),
        ([FOREVER, "--task.start=grid"], []),
        (["--num_updates=90"], []),  # as configured: it learns, from the centre
    ],
    ids=["stays at the centre", "stays on a grid", "learns"],
)
def test_a_run_with_one_location(changes: list[str], told_at: list[int], tmp_path: Path) -> None:
    quick = ["--num_updates=60", "--eval_every=0", "--early_stop=null", "--save_every=0", "--num_threads=1", f"--runs_folder={tmp_path}"]
    quick += ["--task.policy.precision=fp32", "--trainer.optimiser.precision=fp32", "--task.images_per_batch=32", "--task.num_glimpses=4"]
    folder = train(read_config("digits_translated", [*quick, *changes]), display=False).run_folder
    assert folder is not None
    lines = (folder / "warnings.jsonl").read_text().splitlines() if (folder / "warnings.jsonl").exists() else []
    said = [line for line in map(json.loads, lines) if line["kind"] == "same_action"]
    assert [line["step"] for line in said] == told_at
    assert all("a glimpse policy looks at one point all the time" in line["warning"] for line in said)


def test_locations_that_fall_back_to_one_point() -> None:
    """The policy of a run that had looked around, with the means at a border: in the middle of a run, by the numbers of a real update."""
    task = small_task(start="grid")
    policy = task.build_policy()
    optimiser = Optimiser(policy, OptimiserConfig(precision="fp32"), num_updates=100, seed=0)
    monitor, told = StagnationMonitor(100), list[int]()
    for step in range(60, 70):
        if step == 65:
            with torch.no_grad():
                policy.locate.weight.zero_()
                policy.start.fill_(4.0)
        trajectory = task.rollout(policy, generator=optimiser.generator)
        advantage = torch.zeros_like(trajectory.logp)
        stats = optimiser.minimise(
            trajectory,
            lambda part, evaluation, advantage: {"loss/policy": policy_gradient(evaluation.logp, advantage)},
            advantage=advantage,
        )
        optimiser.finish_update()
        told += [step] if "same_action" in monitor.update(step, stats) else []
        assert stats["policy/mean_spread"] > 1 or step >= 65
    assert told == [65, 66, 67, 68, 69]
