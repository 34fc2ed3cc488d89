"""From an environment's spaces and a configuration to a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import gymnasium as gym
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch import nn

from seqrl.policies.action_values import ActionValues, ActionValuesConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.tables import ActionValueTable, ProbabilityTable
from seqrl.tasks.control.parts import SMALLEST_PICTURE, observation_size
from seqrl.tasks.control.spaces import joint_parts

Kind = Literal["actor_critic", "action_values", "action_value_table", "probability_table"]

# See `seqrl.protocols.Task`.
HINTS = {
    **dict.fromkeys(("probabilities", "distribution", "critic"), "set task.policy.kind=actor_critic"),
    "action_values": "set task.policy.kind=action_values",
    **{kind: f"set task.policy.kind={kind} (numbered observations and actions)" for kind in ("action_value_table", "probability_table")},
    "whole_rows": "set task.mode=episodes",
    "constant_rewards": "set task.reward_scale=false and, where large rewards are the trouble, task.reward_clip=1",
}


@dataclass
class ControlPolicyConfig:
    """Kind and size of the policy.

    Attributes:
        hidden_sizes: sizes of the layers between input and output; the convolutions, which pictures get, have their own. Where an
            observation is a picture alone these layers are left out.
        kind: "actor_critic", a policy and a critic (PPO and its like); "action_values", a network of Q(s, a) (DQN);
            "action_value_table" (Q-learning, SARSA) and "probability_table" (cross-entropy method) for numbered observations.
        actor_critic: what the networks of "actor_critic" are made of, see `seqrl.policies.actor_critic.ActorCriticConfig`.
        action_values: what the network of "action_values" is made of, see `seqrl.policies.action_values.ActionValuesConfig`.
        smallest_picture: side in pixels from which on what reaches from 0 to 255 is a picture, and encoded by convolutions; smaller
            grids, which may hold kinds of things rather than colours, are rows of numbers, as all are with a side that none has.
        first_value: of every entry of "action_value_table"; one above all that can be earned makes the policy try everything.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    kind: Kind = "actor_critic"
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    action_values: ActionValuesConfig = field(default_factory=ActionValuesConfig)
    smallest_picture: int = SMALLEST_PICTURE
    first_value: float = 0.0

    def __post_init__(self) -> None:
        if self.smallest_picture < 1:
            raise ValueError(f"smallest_picture: expected at least 1 pixel, got {self.smallest_picture}")
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes: expected at least one layer of at least 1, got {self.hidden_sizes}")

    @property
    def squash(self) -> bool:
        """Whether the policy's actions are to be squashed into the environment's bounds."""
        return self.kind == "actor_critic" and self.actor_critic.squash


def build_policy(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None = None
) -> nn.Module:
    """Make the policy that a configuration names, of the sizes that an environment's spaces ask for.

    Args:
        config: see `ControlPolicyConfig`.
        observation_space: of one environment.
        action_space: of one environment.
        generator: draws the first weights.

    Raises:
        ValueError: when this kind cannot serve the spaces.
    """
    policy = _BUILDERS[config.kind](config, observation_space, action_space, generator)
    vars(policy)["hints"] = HINTS
    return policy


def action_size(space: gym.Space) -> ActionSize:
    """Say what one action of a space looks like.

    Raises:
        ValueError: when there is no distribution over such actions.
    """
    if isinstance(space, Discrete):
        return ActionSize(num_actions=int(space.n))
    if isinstance(space, MultiDiscrete) and len(space.shape) == 1:
        return ActionSize(choices=tuple(int(size) for size in space.nvec))
    if isinstance(space, MultiBinary) and len(space.shape) == 1:
        return ActionSize(choices=(2,) * int(space.shape[0]))
    if isinstance(space, Box) and len(space.shape) == 1:
        return ActionSize(num_dimensions=int(space.shape[0]))
    joint = joint_parts(space)
    if joint is not None and len(joint[1].shape) == 1:
        return ActionSize(num_actions=int(joint[0].n), num_dimensions=int(joint[1].shape[0]))
    raise ValueError(
        "action space: expected Discrete, or a row of MultiDiscrete, MultiBinary or Box, or a Tuple of Discrete and a row of Box, "
        f"got {space}; flatten it in a wrapper"
    )


def _actor_critic(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    masked = isinstance(observation_space, Dict) and "action_mask" in observation_space.spaces
    if masked and isinstance(action_space, Box):
        raise ValueError(f"task.action_masks: expected an environment with discrete actions, got {action_space}; set it to false")
    sizes = observation_size(observation_space, config.smallest_picture), action_size(action_space)
    return ActorCritic(*sizes, config.hidden_sizes, config.actor_critic, generator=generator)


def _action_values(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    """Make a network of action values.

    Raises:
        ValueError: when the actions cannot be numbered, or the observations are of no kind that it takes.
    """
    if not isinstance(action_space, Discrete):
        raise ValueError(
            f"task.policy.kind: action_values needs a Discrete action space, got {action_space}; use kind: actor_critic, which "
            "ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    seen = observation_space.spaces.get("observation") if isinstance(observation_space, Dict) else observation_space
    if not isinstance(seen, Box | Discrete):
        raise ValueError(f"task.policy.kind: action_values needs a Box or Discrete observation space, got {observation_space}")
    size = observation_size(seen, config.smallest_picture)
    return ActionValues(size, int(action_space.n), config.hidden_sizes, config.action_values, generator=generator)


def _action_value_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    return ActionValueTable(*_table_sizes(config, observation_space, action_space), first_value=config.first_value)


def _probability_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    return ProbabilityTable(*_table_sizes(config, observation_space, action_space))


def _table_sizes(config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space) -> tuple[int, int]:
    """Give the numbers of observations and actions.

    Raises:
        ValueError: when they are not numbered.
    """
    if isinstance(observation_space, Dict) and "action_mask" in observation_space.spaces:
        raise ValueError(
            f"task.action_masks: expected false with task.policy.kind: {config.kind}, which chooses among all actions, got true"
        )
    if not isinstance(observation_space, Discrete) or not isinstance(action_space, Discrete):
        instead = "kind: action_values, which dqn trains, or " if isinstance(action_space, Discrete) else ""
        raise ValueError(
            f"task.policy.kind: {config.kind} needs numbered (Discrete) observations and actions, got {observation_space} "
            f"and {action_space}; use {instead}kind: actor_critic, which ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    return int(observation_space.n), int(action_space.n)


_BUILDERS: dict[str, Callable[[ControlPolicyConfig, gym.Space, gym.Space, torch.Generator | None], nn.Module]] = {
    "actor_critic": _actor_critic,
    "action_values": _action_values,
    "action_value_table": _action_value_table,
    "probability_table": _probability_table,
}
