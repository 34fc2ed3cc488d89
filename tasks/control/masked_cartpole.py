"""CartPole that shows where things are but not how fast they move: a policy has to remember.

Source: Hausknecht & Stone 2015 (Deep recurrent Q-learning for partially observable MDPs) for learning with part of what is seen left
out; the two velocities as in Duan et al. 2016 (Benchmarking deep reinforcement learning for continuous control).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box
from gymnasium.wrappers import TransformObservation
from gymnasium.wrappers.vector import TransformObservation as TransformObservations

from seqrl.tasks.registering import register

NAME = "seqrl/CartPoleMasked-v1"
SHOWN = [0, 2]  # cart position and pole angle, of position, velocity, angle and angular velocity


def masked_cartpole(**settings: Any) -> gym.Env:
    """Make one cart, which shows [2]."""
    env = CartPoleEnv(**settings)
    return TransformObservation(env, _shown, _masked(env.observation_space))


def masked_cartpoles(**settings: Any) -> gym.vector.VectorEnv:
    """Make many carts, which show [B, 2], as fast as CartPole's own vectorised form."""
    envs = CartPoleVectorEnv(**settings)
    return TransformObservations(envs, _shown, single_observation_space=_masked(envs.single_observation_space))


def _shown(observation: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(observation[..., SHOWN])


def _masked(space: Any) -> Box:
    return Box(space.low[SHOWN], space.high[SHOWN], dtype=np.float32)


register(NAME, __name__, "masked_cartpole", "masked_cartpoles", max_episode_steps=500, reward_threshold=475.0)
