"""Makes gymnasium's vector environments, and keeps their state where they can tell it."""

from __future__ import annotations

import difflib
import json
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.spaces import Box, Discrete


def make_environments(name: str, num_envs: int, *, max_episode_steps: int | None = None, render_mode: str | None = None) -> Any:
    """Make a vector environment: the environment's own vectorised form where it has one, else copies stepped in turn.

    Both reset an ended row in gymnasium's `NEXT_STEP` mode. Continuous actions are clipped to the environment's bounds.

    Args:
        name: gymnasium's id, or `module:id` for an environment that `module` registers when imported.
        num_envs: number of rows.
        max_episode_steps: cut episodes after so many steps; the environment's own limit when None.
        render_mode: how it draws, for instance "rgb_array".

    Raises:
        ValueError: when there is no such environment, what it needs is not installed, or its spaces are not understood.
    """
    spec = find_spec(name)
    given = {"max_episode_steps": max_episode_steps, "render_mode": render_mode}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    mode = "vector_entry_point" if spec.vector_entry_point is not None and not spec.additional_wrappers else "sync"
    try:
        envs = gym.make_vec(name, num_envs, vectorization_mode=mode, **options)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise ValueError(f"environment {name} needs more than is installed: {error}") from error
    check_spaces(name, envs.single_observation_space, envs.single_action_space)
    return gym.wrappers.vector.ClipAction(envs) if isinstance(envs.single_action_space, Box) else envs


def find_spec(name: str) -> Any:
    """Look an environment up in gymnasium's registry.

    Raises:
        ValueError: when there is none of this name, with the nearest ones.
    """
    try:
        return gym.spec(name)
    except gym.error.NamespaceNotFound as error:
        advice = "pip install 'gymnasium[atari]', then write ale_py:" + name if name.startswith("ALE/") else "write module:name"
        raise ValueError(f"environment {name!r}: no installed package has registered this namespace; {advice}") from error
    except (gym.error.Error, ModuleNotFoundError) as error:
        close = difflib.get_close_matches(name, list(gym.registry), n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(close)}?" if close else "`gymnasium.pprint_registry()` lists them all"
        raise ValueError(f"environment {name!r} is not known ({error}); {meant}") from error


def check_spaces(name: str, observation_space: gym.Space, action_space: gym.Space) -> None:
    """Refuse spaces that `ControlPolicy` has no layer for.

    Raises:
        ValueError: naming the environment and the space.
    """
    if not isinstance(observation_space, Box | Discrete):
        raise ValueError(f"environment {name}: expected a Box or Discrete observation space, got {observation_space}")
    if not isinstance(action_space, Box | Discrete) or (isinstance(action_space, Box) and len(action_space.shape) != 1):
        raise ValueError(f"environment {name}: expected a Discrete or one-dimensional Box action space, got {action_space}")
    for space in (observation_space, action_space):
        if isinstance(space, Discrete) and space.start != 0:
            raise ValueError(f"environment {name}: expected numbers from 0, got {space}; shift them with gymnasium's TransformAction")


def episode_limit(name: str, max_episode_steps: int | None) -> int:
    """Give the number of steps after which an episode is cut.

    Raises:
        ValueError: when neither the environment nor the setting names one.
    """
    limit = max_episode_steps or find_spec(name).max_episode_steps
    if limit is None:
        raise ValueError(f"environment {name} has no time limit of its own; set task.max_episode_steps")
    return int(limit)


def environment_state(envs: Any) -> dict[str, Any] | None:
    """Read the whole state of a vector environment; None for those that cannot tell it.

    Gymnasium has no call for this. CartPole's vectorised form keeps everything in four arrays and a generator; of others
    one would have to pickle the objects.
    """
    inner = envs.unwrapped
    if not isinstance(inner, CartPoleVectorEnv):
        return None
    arrays = {name: torch.from_numpy(np.array(getattr(inner, name))) for name in ("state", "steps", "prev_done")}
    return {**arrays, "random": json.dumps(inner.np_random.bit_generator.state)}


def set_environment_state(envs: Any, state: dict[str, Any]) -> None:
    """Put a vector environment back into a state that `environment_state` gave."""
    inner = envs.unwrapped
    for name in ("state", "steps", "prev_done"):
        setattr(inner, name, state[name].numpy().copy())
    inner.np_random.bit_generator.state = json.loads(state["random"])
