"""Registers environments of this package with gymnasium, without loading what they are made of."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def register(name: str, module: str, one: str, many: str, **settings: Any) -> None:
    """Register an environment in its two forms, once.

    Args:
        name: gymnasium's id.
        module: in which both are.
        one: class or function that makes one environment.
        many: class or function that makes many that step at once.
        **settings: see `gymnasium.register`, for instance `max_episode_steps`.
    """
    if name not in gym.registry:
        gym.register(name, entry_point=f"{module}:{one}", vector_entry_point=f"{module}:{many}", **settings)
