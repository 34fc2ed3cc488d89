"""One of two processes that train one agent; `test_two_processes` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from seqrl import PPOConfig
from seqrl.distributed import data_seed
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.run.loop import fit
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig


def main(folder: Path) -> None:
    policy_config = ControlPolicyConfig(hidden_sizes=(8,), actor_critic=ActorCriticConfig(normalise_observations=True))
    task = ControlConfig(num_envs=2 + int(os.environ["RANK"]), num_steps=16, reward_scale=True, policy=policy_config).build(data_seed(0))
    policy = task.build_policy()
    trainer = PPOConfig(epochs=1, minibatches=1).build(policy, seed=0, num_updates=3)
    minutes = 1e-9 if os.environ["RANK"] == "0" else 0.0  # the main process's clock decides for both
    fit(trainer, task, num_updates=3, run_folder=folder, log_every=3, save_minutes=minutes, keep_checkpoints=5)
    rewards = {name: value for name, value in task.state_dict()["rewards"].items() if name != "running"}
    torch.save({"weights": policy.state_dict(), "rewards": rewards}, folder / f"state_{os.environ['RANK']}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
