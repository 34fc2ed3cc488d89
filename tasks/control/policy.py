"""From an environment's spaces and a configuration to a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch import nn

from seqrl.action_values import ActionValuesConfig
from seqrl.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.encoders import ObservationSize
from seqrl.networks import frame_channels
from seqrl.tasks.control.spaces import joint_parts

Kind = Literal["actor_critic", "action_values", "action_value_table", "probability_table"]


@dataclass
class ControlPolicyConfig:
    """Kind and size of the policy.

    Attributes:
        hidden_sizes: sizes of the layers between input and output; the Nature CNN, which frames of 84x84 get, has its own.
        kind: "actor_critic", a policy and a critic (PPO and its like); "action_values", a network of Q(s, a) (DQN);
            "action_value_table" (Q-learning, SARSA) and "probability_table" (cross-entropy method) for numbered observations.
        actor_critic: what the networks of "actor_critic" are made of, see `seqrl.actor_critic.ActorCriticConfig`.
        action_values: what the network of "action_values" is made of, see `seqrl.action_values.ActionValuesConfig`.
        first_value: of every entry of "action_value_table"; one above all that can be earned makes the policy try everything.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    kind: Kind = "actor_critic"
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    action_values: ActionValuesConfig = field(default_factory=ActionValuesConfig)
    first_value: float = 0.0

    def __post_init__(self) -> None:
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
    return _BUILDERS[config.kind](config, observation_space, action_space, generator)


def observation_size(space: gym.Space) -> ObservationSize:
    """Say what one observation of a space looks like; of a mapping, its "observation".

    Raises:
        ValueError: when there is no layer for such observations.
    """
    if isinstance(space, Dict) and "observation" in space.spaces:
        space = space["observation"]
    if isinstance(space, Discrete):
        return ObservationSize((), num_categories=int(space.n))
    if isinstance(space, Box):
        shape = tuple(int(size) for size in space.shape)
        return ObservationSize(shape, frames=space.dtype == np.uint8 and frame_channels(shape) > 0)
    raise ValueError(f"observation space: expected a Box or Discrete, got {space}; flatten it with gymnasium's FlattenObservation")


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
    sizes = observation_size(observation_space), action_size(action_space)
    return ActorCritic(*sizes, config.hidden_sizes, config.actor_critic, generator=generator)


def _action_values(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    from seqrl.tasks.control.action_values import build_action_values

    return build_action_values(config, observation_space, action_space, generator)


def _action_value_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    from seqrl.tasks.control.tables import build_action_value_table

    return build_action_value_table(config, observation_space, action_space, generator)


def _probability_table(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    from seqrl.tasks.control.tables import build_probability_table

    return build_probability_table(config, observation_space, action_space, generator)


# A kind's builder imports its module only when it is asked for.
_BUILDERS: dict[str, Callable[[ControlPolicyConfig, gym.Space, gym.Space, torch.Generator | None], nn.Module]] = {
    "actor_critic": _actor_critic,
    "action_values": _action_values,
    "action_value_table": _action_value_table,
    "probability_table": _probability_table,
}
