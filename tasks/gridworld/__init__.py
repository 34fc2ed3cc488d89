"""The robot in a room: a 4x3 world small enough to be solved exactly, and registered with gymnasium to be learned."""

from __future__ import annotations

import gymnasium as gym

ENVIRONMENT = "seqrl/RobotInARoom-v0"

if ENVIRONMENT not in gym.registry:
    gym.register(
        ENVIRONMENT,
        entry_point="seqrl.tasks.gridworld.environment:RobotInARoom",
        vector_entry_point="seqrl.tasks.gridworld.environment:RobotsInRooms",
        max_episode_steps=100,
    )
