"""One of two processes, of which the second one's gradients are no numbers from the fourth update on; `test_two_processes` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from seqrl import A2CConfig
from seqrl.distributed import data_seed
from seqrl.failures import NoStepTaken
from seqrl.optimiser import OptimiserConfig
from seqrl.run.loop import fit
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig


def main(folder: Path) -> None:
    task = ControlConfig(num_envs=2, num_steps=8, policy=ControlPolicyConfig(hidden_sizes=(8,))).build(data_seed(0))
    policy = task.build_policy()
    trainer = A2CConfig(optimiser=OptimiserConfig(max_skipped_updates=2)).build(policy, seed=0, num_updates=9)
    broken = float("nan") if os.environ["RANK"] == "1" else 1.0
    for weight in policy.parameters():
        weight.register_hook(lambda gradient: gradient * broken if trainer.optimiser.num_finished >= 3 else gradient)
    try:
        fit(trainer, task, num_updates=9, run_folder=folder)
    except NoStepTaken as error:
        (folder / f"said_{os.environ['RANK']}.txt").write_text("\n".join([str(error), *error.__notes__]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
