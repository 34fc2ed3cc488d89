"""Gymnasium's two forms of a game whose rules are written over arrays: one game, and many that step at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from seqrl.run.json_text import parse_json


class Games(Protocol):
    """N games, stepped together."""

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, written into to go back; with the random generator all that the next step depends on."""

    @property
    def observation_space(self) -> gym.Space:
        """Of one game."""

    @property
    def action_space(self) -> gym.Space:
        """Of one game."""

    def start(self, random: np.random.Generator, rows: NDArray[np.bool_]) -> None:
        """Begin some games [N] anew."""

    def play(self, action: Any, random: np.random.Generator, rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take one action a row in some games; give rewards, 0 in the others, and whether they ended, [N] each."""

    def seen(self) -> NDArray[Any]:
        """Give what is seen, [N, ...], in an array of its own."""

    def info(self) -> dict[str, NDArray[Any]]:
        """Give what else gymnasium's `info` holds, [N, ...] each."""

    def draw(self) -> tuple[Any, ...]:
        """Draw each game, or write it, in the render mode."""


class OneGame(gym.Env):
    """One game.

    Args:
        games: of one row.
        render_mode: nothing is drawn when None.
    """

    def __init__(self, games: Games, render_mode: str | None) -> None:
        self.games, self.render_mode, self._one = games, render_mode, np.ones(1, dtype=bool)
        self.observation_space, self.action_space = games.observation_space, games.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a game."""
        super().reset(seed=seed)
        self.games.start(self.np_random, self._one)
        return self.games.seen()[0], self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        rows = tuple(np.asarray(part)[None] for part in action) if isinstance(action, tuple) else np.asarray(action)[None]
        reward, ended = self.games.play(rows, self.np_random, self._one)
        return self.games.seen()[0], float(reward[0]), bool(ended[0]), False, self._info()

    def render(self) -> Any:
        """Draw the game, or write it."""
        return None if self.render_mode is None else self.games.draw()[0]

    def _info(self) -> dict[str, Any]:
        return {name: column[0] for name, column in self.games.info().items()}


class ManyGames(VectorEnv):
    """Many games that step at once and share one random generator; those that have ended begin anew in their next step.

    Args:
        games: of as many rows as there are environments.
        num_envs: their number.
        max_episode_steps: cut games after so many steps; None leaves it to the rules.
        render_mode: nothing is drawn when None.

    Raises:
        ValueError: when an array of the games' state has a name that the environment's own state has.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, games: Games, num_envs: int, max_episode_steps: int | None, render_mode: str | None) -> None:
        if taken := {"length", "ended", "random"} & set(games.state):
            raise ValueError(
                f"games.state: {', '.join(sorted(taken))}: is what the environment itself keeps under this name; choose another"
            )
        self.games, self.num_envs, self.render_mode, self._limit = games, num_envs, render_mode, max_episode_steps
        self.single_observation_space, self.single_action_space = games.observation_space, games.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._length, self._ended = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin all games."""
        super().reset(seed=seed[0] if isinstance(seed, Sequence) else seed)
        self.games.start(self.np_random, np.ones(self.num_envs, dtype=bool))
        self._length[:], self._ended[:] = 0, False
        return self.games.seen(), self.games.info()

    def step(self, actions: Any) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, NDArray[Any]]]:
        """Take one action in each."""
        live = ~self._ended
        reward, terminated = self.games.play(actions, self.np_random, live)
        self.games.start(self.np_random, self._ended)
        self._length = np.where(live, self._length + 1, 0)
        truncated = np.zeros_like(terminated) if self._limit is None else live & ~terminated & (self._length >= self._limit)
        self._ended = terminated | truncated
        return self.games.seen(), reward, terminated, truncated, self.games.info()

    def render(self) -> tuple[Any, ...] | None:
        """Draw each game, or write it."""
        return None if self.render_mode is None else self.games.draw()

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next step depends on."""
        arrays = self.games.state | {"length": self._length, "ended": self._ended}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return {**tensors, "random": json.dumps(self.np_random.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        for name, array in self.games.state.items():
            array[...] = state[name].numpy()
        self._length, self._ended = (state[name].numpy().copy() for name in ("length", "ended"))
        self.np_random.bit_generator.state = parse_json(state["random"])
