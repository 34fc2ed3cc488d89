"""Fits tables to gymnasium's spaces."""

from __future__ import annotations

import gymnasium as gym
import torch
from gymnasium.spaces import Dict, Discrete

from seqrl.policies.tables import ActionValueTable, ProbabilityTable
from seqrl.tasks.control.policy import ControlPolicyConfig


def build_action_value_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> ActionValueTable:
    """Make a table of action values.

    Raises:
        ValueError: when observations or actions are not numbered.
    """
    return ActionValueTable(*_sizes(config, observation_space, action_space), first_value=config.first_value)


def build_probability_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> ProbabilityTable:
    """Make a table of probabilities.

    Raises:
        ValueError: when observations or actions are not numbered.
    """
    return ProbabilityTable(*_sizes(config, observation_space, action_space))


def _sizes(config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space) -> tuple[int, int]:
    if isinstance(observation_space, Dict) and "action_mask" in observation_space.spaces:
        raise ValueError(
            f"task.action_masks: expected false with task.policy.type: {config.type}, which chooses among all actions, got true"
        )
    if not isinstance(observation_space, Discrete) or not isinstance(action_space, Discrete):
        instead = "type: action_values, which dqn trains, or " if isinstance(action_space, Discrete) else ""
        raise ValueError(
            f"task.policy.type: {config.type} needs numbered (Discrete) observations and actions, got {observation_space} "
            f"and {action_space}; use {instead}type: actor_critic, which ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    return int(observation_space.n), int(action_space.n)
