"""From an environment's spaces and a configuration to a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch import Generator, nn

from seqrl.policies.action_values import ActionValues, ActionValuesConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.planner import Planner, PlannerConfig
from seqrl.policies.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from seqrl.policies.tables import ActionValueTable, ProbabilityTable
from seqrl.run.registry import call
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, NotNegative, check_settings, named
from seqrl.tasks.control.parts import SMALLEST_PICTURE, observation_size
from seqrl.tasks.control.perception import Perceived
from seqrl.tasks.control.predicting import PredictingActorCritic
from seqrl.tasks.control.spaces import joint_parts

TYPES = ("actor_critic", "soft_actor_critic", "action_values", "action_value_table", "probability_table", "planner")
ENCODING = ("actor_critic", "action_values")  # those of them that have an encoder
# Which settings help where a trainer misses something.
HINTS = {
    **dict.fromkeys(("probabilities", "distribution", "critic"), "set task.policy.type=actor_critic"),
    "action_values": "set task.policy.type=action_values",
    "planner": "set task.policy.type=planner",
    "soft_actor_critic": "set task.policy.type=soft_actor_critic",
    **{name: f"set task.policy.type={name} (numbered observations and actions)" for name in ("action_value_table", "probability_table")},
    "whole_rows": "set task.mode=episodes",
    "demonstrations": "set task.demonstrations.path to episodes that `seqrl record RUN --data=FOLDER` wrote",
    "expert": "set task.expert to the folder of a run in the same environment",
    "constant_rewards": "set task.reward_scale=false and, where large rewards are the trouble, task.reward_clip=1",
}


@dataclass
class ControlPolicyConfig:
    """Type and size of the policy.

    Attributes:
        hidden_sizes: sizes of the layers between input and output; the convolutions, which pictures get, have their own. Where an
            observation is a picture alone these layers are left out.
        type: "actor_critic", a policy and a critic (PPO and its like); "soft_actor_critic", a policy and critics of
            actions (SAC); "action_values", a network of Q(s, a) (DQN);
            "action_value_table" (Q-learning, SARSA) and "probability_table" (cross-entropy method) for numbered observations; "planner",
            which plans by a model of the world that `model_based` learns; or
            `module:function` for a policy of one's own, where the function takes this configuration, the spaces of observations and
            actions, and the generator of the initial weights.
        encoder: "auto", layers or convolutions that fit what is seen; or `module:function` for one of one's own in their place, where the
            function takes this configuration, the space of observations and the generator of the initial weights, and gives a module from
            observations [..., *shape], as the environment has them, to features [..., num_outputs], with `num_outputs` as an attribute.
            Memory and heads stand behind it; for actor_critic and action_values.
        actor_critic: what the networks of "actor_critic" are made of, see `seqrl.policies.actor_critic.ActorCriticConfig`.
        action_values: what the network of "action_values" is made of, see `seqrl.policies.action_values.ActionValuesConfig`.
        soft_actor_critic: what "soft_actor_critic" is made of, see `seqrl.policies.soft_actor_critic.SoftActorCriticConfig`.
        planner: how "planner" plans, see `seqrl.policies.planner.PlannerConfig`.
        smallest_picture: side in pixels from which on what reaches from 0 to 255 is a picture, and encoded by convolutions; smaller
            grids, which may hold kinds of things rather than colours, are rows of numbers, as all are with a side that none has.
        prediction_weight: of the loss of the predictions, beside the trainer's own losses, in environments that take one with every action.
        first_value: of every entry of "action_value_table"; one above all that can be earned makes the policy try everything.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    type: Annotated[str, named(*TYPES)] = field(default="actor_critic", metadata={NAMES_CODE: ()})
    encoder: Annotated[str, named("auto")] = field(default="auto", metadata={NAMES_CODE: ()})
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    action_values: ActionValuesConfig = field(default_factory=ActionValuesConfig)
    soft_actor_critic: SoftActorCriticConfig = field(default_factory=SoftActorCriticConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    smallest_picture: Count = SMALLEST_PICTURE
    prediction_weight: NotNegative[float] = 1.0
    first_value: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes: expected at least one layer of at least 1, got {self.hidden_sizes}")

    @property
    def squash(self) -> bool | None:
        """Whether the policy's actions are to be squashed into the environment's bounds; None: where they are numbers."""
        return None if self.type == "soft_actor_critic" else self.type == "actor_critic" and self.actor_critic.squash


def build_policy(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: Generator | None = None
) -> nn.Module:
    """Make the policy that a configuration names, of the sizes that an environment's spaces ask for.

    Args:
        config: see `ControlPolicyConfig`.
        observation_space: of one environment.
        action_space: of one environment.
        generator: draws the initial weights.

    Raises:
        ValueError: when this type cannot serve the spaces.
    """
    if isinstance(observation_space, Perceived) and config.type != "actor_critic" and ":" not in config.type:
        raise ValueError(
            f"task.policy.type: expected actor_critic in an environment that takes predictions, got {config.type}; only that one predicts"
        )
    if config.encoder != "auto" and config.type not in ENCODING and ":" not in config.type:
        raise ValueError(
            f"task.policy.encoder: expected auto with task.policy.type: {config.type}, which has no encoder, got {config.encoder}; "
            f"{' and '.join(ENCODING)} have one"
        )
    builders = {
        "actor_critic": _actor_critic,
        "soft_actor_critic": _soft_actor_critic,
        "action_values": _action_values,
        "planner": _planner,
    }
    own = partial(call, "task.policy.type", config.type)
    build = own if ":" in config.type else builders.get(config.type, _table)
    policy: nn.Module = build(config, observation_space, action_space, generator)
    vars(policy)["hints"] = HINTS
    return policy


def _actor_critic(config: ControlPolicyConfig, shown: gym.Space, actions: gym.Space, generator: Generator | None) -> ActorCritic:
    if isinstance(shown, Perceived):
        wanted = shown.prediction
        own: dict[str, Any] = {"weight": config.prediction_weight, "generator": generator}
        sizes_seen = _observation_size(config, shown.seen), action_size(wanted.action_space)
        return PredictingActorCritic(*sizes_seen, wanted, config.hidden_sizes, config.actor_critic, **own)
    if _has_mask(shown) and isinstance(actions, Box):
        raise ValueError(f"task.action_masks: expected an environment with discrete actions, got {actions}; set it to false")
    sizes = _observation_size(config, shown), action_size(actions)
    return ActorCritic(*sizes, config.hidden_sizes, config.actor_critic, generator=generator)


def _soft_actor_critic(config: ControlPolicyConfig, shown: gym.Space, actions: gym.Space, generator: Generator | None) -> SoftActorCritic:
    size = _observation_size(config, shown) if isinstance(shown, Box | Discrete) else None
    if size is None or size.convolved or not (isinstance(actions, Discrete) or (isinstance(actions, Box) and len(actions.shape) == 1)):
        raise ValueError(
            "task.policy.type: soft_actor_critic needs observations that are numbers, without a mask or pictures, and Discrete actions or "
            f"a row of Box, got {shown} and {actions}; use type: actor_critic, which ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    return SoftActorCritic(size, action_size(actions), config.hidden_sizes, config.soft_actor_critic, generator=generator)


def _action_values(config: ControlPolicyConfig, shown: gym.Space, actions: gym.Space, generator: Generator | None) -> ActionValues:
    if not isinstance(actions, Discrete):
        raise ValueError(
            f"task.policy.type: action_values needs a Discrete action space, got {actions}; use type: actor_critic, which "
            "ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    seen = shown.spaces.get("observation") if isinstance(shown, Dict) else shown
    if not isinstance(seen, Box | Discrete):
        raise ValueError(f"task.policy.type: action_values needs a Box or Discrete observation space, got {shown}")
    sizes = _observation_size(config, seen), int(actions.n)
    return ActionValues(*sizes, config.hidden_sizes, config.action_values, generator=generator)


def _planner(config: ControlPolicyConfig, shown: gym.Space, actions: gym.Space, generator: Generator | None) -> Planner:
    bounded = isinstance(actions, Box) and len(actions.shape) == 1 and actions.is_bounded()
    if not isinstance(shown, Box) or not (bounded or isinstance(actions, Discrete)):
        raise ValueError(
            "task.policy.type: planner needs a Box of observations, and Discrete actions or a row of Box with bounds, "
            f"got {shown} and {actions}; use type: actor_critic"
        )
    bounds = torch.tensor(np.stack([actions.low, actions.high]), dtype=torch.float32) if isinstance(actions, Box) else None
    num_actions = int(actions.n) if isinstance(actions, Discrete) else 0
    size = math.prod(shown.shape)
    return Planner(size, config.hidden_sizes, config.planner, num_actions=num_actions, bounds=bounds, generator=generator)


def _table(config: ControlPolicyConfig, shown: gym.Space, actions: gym.Space, generator: Generator | None) -> nn.Module:
    if _has_mask(shown):
        raise ValueError(
            f"task.action_masks: expected false with task.policy.type: {config.type}, which chooses among all actions, got true"
        )
    if not isinstance(shown, Discrete) or not isinstance(actions, Discrete):
        instead = "type: action_values, which dqn trains, or " if isinstance(actions, Discrete) else ""
        raise ValueError(
            f"task.policy.type: {config.type} needs numbered (Discrete) observations and actions, got {shown} "
            f"and {actions}; use {instead}type: actor_critic, which ppo, a2c, trpo, vtrace, reinforce and cem train"
        )
    sizes = int(shown.n), int(actions.n)
    return ProbabilityTable(*sizes) if config.type == "probability_table" else ActionValueTable(*sizes, first_value=config.first_value)


def _observation_size(config: ControlPolicyConfig, space: gym.Space) -> ObservationSize:
    """Say what one observation looks like, and what encodes it."""
    seen = space["observation"] if isinstance(space, Dict) else space
    size = observation_size(seen, config.smallest_picture)
    if config.encoder == "auto":
        return size
    own = partial(call, "task.policy.encoder", config.encoder, config, seen)
    return replace(size, frames=False, pictures=(), num_stacked=1, own_encoder=own)


def _has_mask(space: gym.Space) -> bool:
    return isinstance(space, Dict) and "action_mask" in space.spaces


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
        return ActionSize(num_dimensions=int(space.shape[0]), bounds=tuple(zip(space.low.tolist(), space.high.tolist(), strict=True)))
    joint = joint_parts(space)
    if joint is not None and len(joint[1].shape) == 1:
        return ActionSize(num_actions=int(joint[0].n), num_dimensions=int(joint[1].shape[0]))
    raise ValueError(
        "action space: expected Discrete, or a row of MultiDiscrete, MultiBinary or Box, or a Tuple of Discrete and a row of Box, "
        f"got {space}; flatten it in a wrapper"
    )
