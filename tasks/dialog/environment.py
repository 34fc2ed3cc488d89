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
from seqrl.tasks.control.watching import WHOLE
from seqrl.tasks.dialog.drawing import Turn, draw_dialog

METADATA = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1, SHOWS_MASK: True, WHOLE: True}


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

    def goal(self, row: int) -> str:
        """Write what the user of a dialog wants."""

    def turn(self, row: int, reward: float | None, ended: bool) -> Turn:
        """Give the last two turns of a dialog to be drawn."""


class Drawn:
    """Keeps the turns of dialogs that are drawn.

    Args:
        dialogs: N of them.
        size: N.
        render_mode: keeps nothing unless it is "rgb_array".
    """

    def __init__(self, dialogs: Dialogs, size: int, render_mode: str | None) -> None:
        self._dialogs, self._on = dialogs, render_mode == "rgb_array"
        self._turns: list[list[Turn]] = [[] for _ in range(size)]
        self._goals = [""] * size

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Take down the first turn of some dialogs [N]."""
        for row in np.flatnonzero(rows).tolist() if self._on else ():
            self._goals[row], self._turns[row] = self._dialogs.goal(row), [self._dialogs.turn(row, None, False)]

    def add(self, rows: NDArray[np.bool_], reward: NDArray[np.float64], ended: NDArray[np.bool_]) -> None:
        """Take down the last turn of some dialogs [N]."""
        for row in np.flatnonzero(rows).tolist() if self._on else ():
            self._turns[row].append(self._dialogs.turn(row, float(reward[row]), bool(ended[row])))

    def draw(self, row: int) -> NDArray[np.uint8]:
        """Draw a dialog."""
        return draw_dialog(self._goals[row], self._turns[row])


class OneDialog(gym.Env):
    """One dialog; `info["action_mask"]` says which acts make sense.

    Args:
        dialogs: of one row.
        render_mode: "ansi", "rgb_array" or None.
    """

    metadata = METADATA

    def __init__(self, dialogs: Dialogs, render_mode: str | None = None) -> None:
        self.dialogs, self.render_mode, self._one = dialogs, render_mode, np.ones(1, dtype=bool)
        self._drawn = Drawn(dialogs, 1, render_mode)
        self.observation_space, self.action_space = _spaces(dialogs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a dialog."""
        super().reset(seed=seed)
        self.dialogs.start(self.np_random, self._one)
        self._drawn.begin(self._one)
        return self.dialogs.seen()[0], self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Say something and hear the answer."""
        reward, ended = self.dialogs.play(np.array([int(action)]), self.np_random, self._one)
        self._drawn.add(self._one, reward, ended)
        return self.dialogs.seen()[0], float(reward[0]), bool(ended[0]), False, self._info()

    def render(self) -> Any:
        """Write the last two turns, or draw the dialog."""
        if self.render_mode == "rgb_array":
            return self._drawn.draw(0)
        return self.dialogs.say(0) if self.render_mode == "ansi" else None

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.dialogs.allowed()[0].astype(np.int8)}


class ManyDialogs(VectorEnv):
    """Many dialogs that step at once; those that have ended begin anew in their next step.

    Args:
        dialogs: of as many rows as there are environments.
        num_envs: their number.
        max_episode_steps: cut dialogs after so many turns of the system; None leaves it to the domain.
        render_mode: "ansi", "rgb_array" or None.
    """

    metadata = {**METADATA, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, dialogs: Dialogs, num_envs: int, max_episode_steps: int | None = None, render_mode: str | None = None) -> None:
        self.dialogs, self.num_envs, self.render_mode, self._limit = dialogs, num_envs, render_mode, max_episode_steps
        self.single_observation_space, self.single_action_space = _spaces(dialogs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._length, self._ended = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=bool)
        self._drawn = Drawn(dialogs, num_envs, render_mode)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin all dialogs, which share one random generator."""
        super().reset(seed=seed[0] if isinstance(seed, Sequence) else seed)
        everyone = np.ones(self.num_envs, dtype=bool)
        self.dialogs.start(self.np_random, everyone)
        self._drawn.begin(everyone)
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
            self._drawn.begin(self._ended)
        self._length = np.where(live, self._length + 1, 0)
        truncated = np.zeros_like(terminated) if self._limit is None else live & ~terminated & (self._length >= self._limit)
        self._ended = terminated | truncated
        self._drawn.add(live, reward, self._ended)
        return self.dialogs.seen(), reward, terminated, truncated, {"action_mask": self.dialogs.allowed()}

    def render(self) -> tuple[Any, ...] | None:
        """Write the last two turns of each dialog, or draw them."""
        if self.render_mode == "rgb_array":
            return tuple(self._drawn.draw(row) for row in range(self.num_envs))
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
