"""The sources that a control task acts on: environments of its factory, shown and acted on as its configuration says."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.environments import EnvironmentFactory
from seqrl.tasks.control.parts import SHOWS_MASK
from seqrl.tasks.control.spaces import action_translator, policy_spaces


class VectorSources:
    """Makes sources, and keeps those that are needed again.

    Args:
        factory: makes the environments.
        frame_stack, action_masks: see `seqrl.tasks.control.task.ControlConfig`.
        squash: whether the policy's actions are squashed into the bounds; None: where they are numbers.
    """

    def __init__(self, factory: EnvironmentFactory, *, frame_stack: int, action_masks: bool | None, squash: bool | None) -> None:
        self._factory, self._frame_stack, self._action_masks, self._squash = factory, frame_stack, action_masks, squash
        self._kept: dict[tuple[bool, int], VectorEnvSource] = {}

    def get(self, num_envs: int, *, training: bool, seed: int) -> VectorEnvSource:
        """Give the one source of a number of rows that serves rollouts, or evaluations; made with `seed` the first time."""
        key = (training, num_envs)
        if key not in self._kept:
            self._kept[key] = self._around(self._factory.make(num_envs, training=training), seed)
        return self._kept[key]

    def drawn(self, render_mode: str | None, *, seed: int) -> VectorEnvSource:
        """Make a source of one row that can be drawn."""
        return self._around(self._factory.make(1, training=False, render_mode=render_mode), seed)

    def shows_masks(self, envs: Any) -> bool:
        """Say whether masks of allowed actions are shown beside a vector environment's observations; see `ControlConfig.action_masks`."""
        return bool(envs.metadata.get(SHOWS_MASK, False)) if self._action_masks is None else self._action_masks

    def policy_spaces(self, envs: Any) -> tuple[gym.Space, gym.Space]:
        """Give the spaces of a vector environment as a policy sees them, see `seqrl.tasks.control.spaces.policy_spaces`."""
        spaces = envs.single_observation_space, envs.single_action_space
        return policy_spaces(*spaces, frame_stack=self._frame_stack, action_masks=self.shows_masks(envs))

    def _around(self, envs: Any, seed: int) -> VectorEnvSource:
        name = self._factory.name
        return VectorEnvSource(
            envs,
            seed=seed,
            name=name,
            frame_stack=self._frame_stack,
            action_masks=self.shows_masks(envs),
            to_action=action_translator(name, envs.single_action_space, squash=self._squash),
            whole_game=getattr(self._factory, "whole_game", None),
        )
