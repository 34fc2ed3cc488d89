"""CartPole that shows where things are but not how fast they move: a policy has to remember."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

NAME = "seqrl/CartPoleMasked-v1"
SHOWN = [0, 2]  # cart position and pole angle, of position, velocity, angle and angular velocity


class MaskedCartPole(CartPoleEnv):  # gymnasium asks for its own classes
    """One cart, see `MaskedCartPoles`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.observation_space = _masked(self.observation_space)

    def reset(self, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; what is seen is [2]."""
        observation, info = super().reset(**settings)
        return observation[SHOWN], info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation[SHOWN], reward, terminated, truncated, info


class MaskedCartPoles(CartPoleVectorEnv):
    """Many carts at once, as fast as CartPole's own vectorised form.

    Source: Hausknecht & Stone 2015 (Deep recurrent Q-learning for partially observable MDPs) for learning with part of what is
    seen left out; the two velocities as in Duan et al. 2016 (Benchmarking deep reinforcement learning for continuous control).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.single_observation_space = _masked(self.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes; what is seen is [B, 2]."""
        observation, info = super().reset(**settings)
        return np.ascontiguousarray(observation[:, SHOWN]), info

    def step(self, action: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take a step in all of them."""
        observation, reward, terminated, truncated, info = super().step(action)
        return np.ascontiguousarray(observation[:, SHOWN]), reward, terminated, truncated, info


def _masked(space: Any) -> Box:
    return Box(space.low[SHOWN], space.high[SHOWN], dtype=np.float32)


if NAME not in gym.registry:
    gym.register(
        NAME,
        entry_point="seqrl.tasks.control.masked_cartpole:MaskedCartPole",
        vector_entry_point="seqrl.tasks.control.masked_cartpole:MaskedCartPoles",
        max_episode_steps=500,
        reward_threshold=475.0,
    )
