"""The robot's room as a gymnasium environment, alone and as many copies that step at once."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from seqrl.run.json_text import parse_json
from seqrl.tasks.gridworld.room import CELLS, EXITS, START, STATE_OF, room_model

FRAME_WIDTH = 400


class _Rules:
    """What both forms share: where an action may lead, and what it earns.

    A step earns the step reward, and 1 more or less where it reaches an exit. A return is then the book's utility.
    """

    def __init__(self, step_reward: float, random_start: bool) -> None:
        model = room_model(step_reward)
        self.cumulative = model.transition.cumsum(dim=2).numpy()
        self.exit_reward = np.array([EXITS.get(cell, 0.0) for cell in CELLS])
        self.is_exit = np.array([cell in EXITS for cell in CELLS])
        self.step_reward = step_reward
        self.starts = np.flatnonzero(~self.is_exit) if random_start else np.array([STATE_OF[START]])

    def start(self, random: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw the first states, [N]."""
        return random.choice(self.starts, size=count)

    def follow(
        self, state: NDArray[np.int64], action: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """Draw next states, and give rewards and whether an exit was reached, [N] each."""
        draw = random.random(len(state))[:, None]
        following = np.minimum((draw >= self.cumulative[state, action]).sum(axis=1), len(CELLS) - 1)
        return following, self.step_reward + self.exit_reward[following], self.is_exit[following]


class RobotInARoom(gym.Env):
    """The 4x3 world: 11 numbered states row by row from the lower left, actions up, right, down, left.

    Args:
        step_reward: reward of every step.
        random_start: begin in any cell that is no exit, instead of the lower left one.
        render_mode: "rgb_array" or None.

    Source: Russell & Norvig 2010 (Artificial intelligence, 3rd edition), section 17.1.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, step_reward: float = -0.04, random_start: bool = False, render_mode: str | None = None) -> None:
        self._rules = _Rules(step_reward, random_start)
        self.render_mode = render_mode
        self.observation_space, self.action_space = Discrete(len(CELLS)), Discrete(4)
        self._state = np.zeros(1, dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Put the robot at its start."""
        super().reset(seed=seed)
        self._state = self._rules.start(self.np_random, 1)
        return int(self._state[0]), {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move the robot."""
        self._state, reward, ended = self._rules.follow(self._state, np.array([action]), self.np_random)
        return int(self._state[0]), float(reward[0]), bool(ended[0]), False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the room from above."""
        return _draw(int(self._state[0])) if self.render_mode == "rgb_array" else None


class RobotsInRooms(VectorEnv):
    """Many rooms that step at once; rows that have ended are reset by their next step.

    Args:
        num_envs: number of rooms.
        step_reward: reward of every step.
        random_start: begin in any cell that is no exit.
        max_episode_steps: cut episodes after so many steps.
        render_mode: "rgb_array" or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        step_reward: float = -0.04,
        random_start: bool = False,
        max_episode_steps: int = 100,
        render_mode: str | None = None,
    ) -> None:
        self._rules = _Rules(step_reward, random_start)
        self.num_envs, self.render_mode, self._limit = num_envs, render_mode, max_episode_steps
        self.single_observation_space, self.single_action_space = Discrete(len(CELLS)), Discrete(4)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state, self._length = np.zeros(num_envs, dtype=np.int64), np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Put every robot at its start; all rooms share one random generator."""
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        self._state = self._rules.start(self.np_random, self.num_envs)
        self._length[:], self._ended[:] = 0, False
        return self._state.copy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Move every robot."""
        live = ~self._ended
        following, reward, terminated = self._rules.follow(self._state, actions, self.np_random)
        self._state = np.where(live, following, self._rules.start(self.np_random, self.num_envs))
        self._length = np.where(live, self._length + 1, 0)
        terminated &= live
        truncated = live & ~terminated & (self._length >= self._limit)
        self._ended = terminated | truncated
        return self._state.copy(), np.where(live, reward, 0.0), terminated, truncated, {}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draw each room from above."""
        return tuple(_draw(int(state)) for state in self._state) if self.render_mode == "rgb_array" else None

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next step depends on."""
        arrays = {"state": self._state, "length": self._length, "ended": self._ended}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()} | {
            "random": json.dumps(self.np_random.bit_generator.state)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._state, self._length, self._ended = (state[name].numpy().copy() for name in ("state", "length", "ended"))
        self.np_random.bit_generator.state = parse_json(state["random"])


def _draw(state: int) -> NDArray[np.uint8]:
    from seqrl.tasks.gridworld.drawing import draw_robot

    return draw_robot(CELLS[state], FRAME_WIDTH)
