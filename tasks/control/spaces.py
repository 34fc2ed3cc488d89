"""What lies between an environment's spaces and a policy: which are understood, how they are shown, how actions get there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import Tensor

from seqrl.tasks.control.parts import StackedBox

Translator = Callable[[Tensor], Any]


def check_spaces(name: str, observation_space: gym.Space, action_space: gym.Space) -> None:
    """Refuse spaces that no policy has a layer for.

    Raises:
        ValueError: naming the environment and the space.
    """
    if not isinstance(observation_space, Box | Discrete):
        raise ValueError(
            f"environment {name}: expected a Box or Discrete observation space, or one that flattens into a Box, got {observation_space}"
        )
    joint = joint_parts(action_space)
    if not isinstance(action_space, Box | Discrete | MultiDiscrete | MultiBinary) and joint is None:
        raise ValueError(
            f"environment {name}: expected a Discrete, MultiDiscrete, MultiBinary or Box action space, or a Tuple of a Discrete and a Box, "
            f"got {action_space}"
        )
    for part in joint or ():
        check_spaces(name, observation_space, part)
    if np.any(getattr(action_space, "start", 0)) or getattr(observation_space, "start", 0) != 0:
        raise ValueError(
            f"environment {name}: expected numbers from 0, got {observation_space} and {action_space}; shift them in a wrapper"
        )
    if isinstance(action_space, Box) and not np.issubdtype(action_space.dtype, np.floating):
        raise ValueError(
            f"environment {name}: expected a Box of real numbers for the actions, got {action_space}; wrap it as MultiDiscrete"
        )
    if isinstance(action_space, MultiDiscrete | MultiBinary) and len(action_space.shape) != 1:
        raise ValueError(f"environment {name}: expected a row of choices, got {action_space}; flatten it in a wrapper")


def joint_parts(action_space: gym.Space) -> tuple[Discrete, Box] | None:
    """Give the parts of a Tuple of a Discrete and a Box, a choice and real numbers at once; None of other spaces."""
    if not isinstance(action_space, Tuple) or len(action_space.spaces) != 2:
        return None
    choice, real = action_space.spaces
    return (choice, real) if isinstance(choice, Discrete) and isinstance(real, Box) else None


def policy_spaces(
    observation_space: gym.Space, action_space: gym.Space, *, frame_stack: int = 1, action_masks: bool = False
) -> tuple[gym.Space, gym.Space]:
    """Give the spaces as a policy sees them: frames stacked, several binary choices as MultiDiscrete, a Box of actions in one row.

    A choice and a Box at once stay a Tuple.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        frame_stack: observations shown at once; more than one put an axis before the others.
        action_masks: whether {"observation", "action_mask"} are shown.

    Raises:
        ValueError: when such observations cannot be stacked, or such actions not be masked.
    """
    if frame_stack > 1:
        if not isinstance(observation_space, Box):
            raise ValueError(
                f"task.frame_stack: expected 1 for an observation space without numbers to stack, {observation_space}, got {frame_stack}"
            )
        observation_space = StackedBox(observation_space, frame_stack)
    if isinstance(action_space, MultiBinary):
        action_space = MultiDiscrete(np.full(action_space.shape, 2))
    joint = joint_parts(action_space)
    if joint is not None:
        action_space = Tuple((joint[0], _in_a_row(joint[1])))
    elif isinstance(action_space, Box):
        action_space = _in_a_row(action_space)
    if action_masks:
        if not isinstance(action_space, Discrete):
            raise ValueError(f"task.action_masks: expected false where actions are not Discrete but {action_space}, got true")
        observation_space = Dict({"observation": observation_space, "action_mask": MultiBinary(int(action_space.n))})
    return observation_space, action_space


def _in_a_row(space: Box) -> Box:
    if len(space.shape) == 1:
        return space
    return Box(space.low.reshape(-1), space.high.reshape(-1), dtype=space.dtype.type)  # type: ignore[arg-type]


def action_translator(name: str, action_space: gym.Space, *, squash: bool | None) -> Translator | None:
    """Make the function that turns a policy's actions into the environments'; None where they are the same.

    Real numbers u are clipped to the bounds, or squashed into them: low + (tanh(u) + 1) (high - low) / 2. A choice and real
    numbers come as one row [1 + D], the choice first, and go as a tuple of both.

    Args:
        name: the environment's, for the error.
        action_space: of one environment.
        squash: whether to squash; None: where actions are numbers.

    Raises:
        ValueError: when there is nothing to squash, or no bound to squash into.
    """
    joint = joint_parts(action_space)
    if joint is not None:
        choice, bounded = joint[0].dtype, _bounded(name, joint[1], squash=squash is not False)
        return lambda action: (action[:, 0].cpu().numpy().astype(choice), bounded(action[:, 1:]))
    if isinstance(action_space, Box):
        return _bounded(name, action_space, squash=squash is not False)
    if squash:
        raise ValueError(
            f"task.policy.actor_critic.squash: expected false for environment {name}, whose actions are {action_space}, got true"
        )
    return (lambda action: action.cpu().numpy().astype(action_space.dtype)) if isinstance(action_space, MultiBinary) else None


def _bounded(name: str, action_space: Box, *, squash: bool) -> Translator:
    """Make the function that brings real numbers into the bounds of a Box."""
    low, high, shape = action_space.low, action_space.high, action_space.shape
    if not squash:
        return lambda action: np.clip(action.cpu().numpy().reshape(-1, *shape), low, high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(
            f"task.policy.actor_critic.squash: expected an action space with bounds, environment {name} has {action_space}; set it to false"
        )
    half = (high - low) / 2

    def squashed(action: Tensor) -> np.ndarray:
        # Rounding may lead a hair beyond the bounds.
        return np.clip(low + (action.tanh().cpu().numpy().reshape(-1, *shape) + 1) * half, low, high)

    return squashed


def packed_action(action: Any) -> np.ndarray:
    """Give one environment's action as an array, whatever it is made of; `unpacked_action` undoes it."""
    if isinstance(action, tuple):
        return np.concatenate([np.ravel(part).astype(np.float64) for part in action])
    return np.array(action)


def unpacked_action(action: np.ndarray, action_space: gym.Space) -> Any:
    """Give back one environment's action that `packed_action` made an array of."""
    joint = joint_parts(action_space)
    if joint is None:
        return action
    choice, real = joint
    return choice.dtype.type(action[0]), action[1:].astype(real.dtype).reshape(real.shape)
