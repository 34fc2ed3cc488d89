"""Fits a network of action values to gymnasium's spaces."""

from __future__ import annotations

import gymnasium as gym
import torch
from gymnasium.spaces import Box, Discrete

from seqrl.policies.action_values import ActionValues
from seqrl.tasks.control.parts import observation_size
from seqrl.tasks.control.policy import ControlPolicyConfig


def build_action_values(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> ActionValues:
    """Make the network.

    Raises:
        ValueError: when the actions cannot be numbered, or the observations are of no kind that it takes.
    """
    if not isinstance(action_space, Discrete):
        raise ValueError(
            f"task.policy.type: action_values needs a Discrete action space, got {action_space}; use type: actor_critic, which "
            "ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    seen = observation_space.spaces.get("observation") if isinstance(observation_space, gym.spaces.Dict) else observation_space
    if not isinstance(seen, Box | Discrete):
        raise ValueError(f"task.policy.type: action_values needs a Box or Discrete observation space, got {observation_space}")
    size = observation_size(seen, config.smallest_picture)
    return ActionValues(size, int(action_space.n), config.hidden_sizes, config.action_values, generator=generator)
