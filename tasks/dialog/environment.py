"""Gymnasium's two forms of a dialogue domain: one dialog, and many that step at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from seqrl.run.json_text import parse_json
from seqrl.tasks.control.parts import SHOWS_MASK


class Dialogs(Protocol):
    """N dialogs of a domain, stepped together.

    Attributes:
        state: arrays [N, ...] by name; with the random generator all that the next turn depends on.
        num_features: F, of what the system sees.
        num_actions: A, dialogue acts.
    """

    state: dict[str, NDArray[Any]]
    num_features: int
    num_actions: int

    def start(self, random: np.random.Generator, rows: NDArray[np.bool_]) -> None:
        """Begin some dialogs [N] anew, with the user's first turn."""

    def play(
        self, action: NDArray[np.int64], random: np.random.Generator, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Say one act [N] in some dialogs and hear the user's answer; give rewards and whether they ended, [N] each."""

    def seen(self) -> NDArray[np.float32]:
        """Give what the system sees, [N, F]."""

    def allowed(self) -> NDArray[np.bool_]:
        """Give which acts make sense now, [N, A]."""

    def say(self, row: int) -> str:
        """Write the last two turns of a dialog, the system's and the user's."""


class OneDialog(gym.Env):
    """One dialog; `info["action_mask"]` says which acts make sense.

    Args:
        dialogs: of one row.
        render_mode: "ansi" or None.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1, SHOWS_MASK: True}

    def __init__(self, dialogs: Dialogs, render_mode: str | None = None) -> None:
        self.dialogs, self.render_mode, self._one = dialogs, render_mode, np.ones(1, dtype=bool)
        self.observation_space, self.action_space = _spaces(dialogs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a dialog."""
        super().reset(seed=seed)
        self.dialogs.start(self.np_random, self._one)
        return self.dialogs.seen()[0], self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Say something and hear the answer."""
        reward, ended = self.dialogs.play(np.array([int(action)]), self.np_random, self._one)
        return self.dialogs.seen()[0], float(reward[0]), bool(ended[0]), False, self._info()

    def render(self) -> str | None:
        """Write the last two turns."""
        return self.dialogs.say(0) if self.render_mode == "ansi" else None

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.dialogs.allowed()[0].astype(np.int8)}


class ManyDialogs(VectorEnv):
    """Many dialogs that step at once; those that have ended begin anew in their next step.

    Args:
        dialogs: of as many rows as there are environments.
        num_envs: their number.
        max_episode_steps: cut dialogs after so many turns of the system; None leaves it to the domain.
        render_mode: "ansi" or None.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1, "autoreset_mode": AutoresetMode.NEXT_STEP, SHOWS_MASK: True}

    def __init__(self, dialogs: Dialogs, num_envs: int, max_episode_steps: int | None = None, render_mode: str | None = None) -> None:
        self.dialogs, self.num_envs, self.render_mode, self._limit = dialogs, num_envs, render_mode, max_episode_steps
        self.single_observation_space, self.single_action_space = _spaces(dialogs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._length, self._ended = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin all dialogs, which share one random generator."""
        super().reset(seed=seed[0] if isinstance(seed, Sequence) else seed)
        self.dialogs.start(self.np_random, np.ones(self.num_envs, dtype=bool))
        self._length[:], self._ended[:] = 0, False
        return self.dialogs.seen(), {"action_mask": self.dialogs.allowed()}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Say one act [N] in each."""
        live = ~self._ended
        reward, terminated = self.dialogs.play(np.asarray(actions), self.np_random, live)
        if self._ended.any():
            self.dialogs.start(self.np_random, self._ended)
        self._length = np.where(live, self._length + 1, 0)
        truncated = np.zeros_like(terminated) if self._limit is None else live & ~terminated & (self._length >= self._limit)
        self._ended = terminated | truncated
        return self.dialogs.seen(), reward, terminated, truncated, {"action_mask": self.dialogs.allowed()}

    def render(self) -> tuple[str, ...] | None:
        """Write the last two turns of each dialog."""
        return tuple(self.dialogs.say(row) for row in range(self.num_envs)) if self.render_mode == "ansi" else None

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next turn depends on."""
        arrays = self.dialogs.state | {"length": self._length, "ended": self._ended}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()} | {
            "random": json.dumps(self.np_random.bit_generator.state)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        for name in self.dialogs.state:
            self.dialogs.state[name] = state[name].numpy().copy()
        self._length, self._ended = (state[name].numpy().copy() for name in ("length", "ended"))
        self.np_random.bit_generator.state = parse_json(state["random"])


def _spaces(dialogs: Dialogs) -> tuple[Box, Discrete]:
    return Box(0.0, 1.0, (dialogs.num_features,), dtype=np.float32), Discrete(dialogs.num_actions)
