"""The robot in a room: a 4x3 world small enough to be solved exactly, and registered with gymnasium to be learned."""

from __future__ import annotations

from seqrl.tasks.registering import register

ENVIRONMENT = "seqrl/RobotInARoom-v0"

register(ENVIRONMENT, "seqrl.tasks.gridworld.environment", "RobotInARoom", "RobotsInRooms", max_episode_steps=100)
