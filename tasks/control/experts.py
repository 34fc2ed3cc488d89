"""A trained run as the expert whose actions are imitated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
from torch import nn

from seqrl.run.train import read_run, start_from, task_fingerprints
from seqrl.run.trust import refuse_links
from seqrl.tasks.control.environments import without_module
from seqrl.tasks.paths import expanded

# What an expert's own task was taught by is of no use any more, and may be gone.
TEACHERS = ("demonstrations", "expert")


def load_expert(run: str, environment: str, spaces: tuple[gym.Space, gym.Space], *, squash: bool | None, seed: int) -> nn.Module | None:
    """Load the best policy of a run, to act and to be asked, never to learn; None where no run is named.

    Args:
        run: its folder; "" for none.
        environment: which one it has to be of.
        spaces: of observations and actions, as a policy sees them.
        squash: whether the policy's actions are squashed into the bounds.
        seed: of the expert's own task, which is built to build the policy.

    Raises:
        FileNotFoundError: when there is no such run.
        ValueError: when it is of another environment, or sees or does something else.
    """
    if not run:
        return None
    folder = expanded(run)
    config = read_run(_run_of(folder))
    refuse_links(config.run_folder)
    task: Any = _without_teachers(config.task).build(seed)
    found = getattr(task, "environment", None)
    if found is None or without_module(found) != without_module(environment):
        shown = found or f"a task of another kind ({type(config.task).__name__})"
        raise ValueError(f"task.expert: expected a run of environment {environment}, {folder} is one of {shown}; name another run")
    for name, mine, its in zip(("observations", "actions"), spaces, task.spaces, strict=True):
        if mine != its:
            raise ValueError(
                f"task.expert: expected a run with {name} {mine}, {folder} has {its}; use the same settings of the environment, "
                "task.environment_options, task.frame_stack and task.action_masks among them"
            )
    if (squash is False) != (task.config.policy.squash is False):
        raise ValueError(
            f"task.policy.actor_critic.squash: expected {task.config.policy.squash}, as in the run of the expert {folder}, got {squash}"
        )
    policy: nn.Module = task.build_policy()
    start_from(folder, policy, task_fingerprints(task))
    return policy.eval().requires_grad_(False)


def _run_of(folder: Path) -> Path:
    """Give the run of a folder, which may be one of its checkpoints."""
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder


def _without_teachers(config: Any) -> Any:
    """Give a task's configuration without what it was taught by."""
    fresh = type(config)()
    return dataclasses.replace(config, **{name: getattr(fresh, name) for name in TEACHERS if hasattr(config, name)})
