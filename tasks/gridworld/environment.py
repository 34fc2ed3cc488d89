"""The robot's room as a gymnasium environment, alone and as many copies that step at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.gridworld.room import CELLS, EXITS, START, STATE_OF, room_model

FRAME_WIDTH = 400
METADATA = {"render_modes": ["rgb_array"], "render_fps": 4}


class _Rooms:
    """N rooms: where an action may lead, and what it earns; see `seqrl.tasks.control.games.Games`.

    A step earns the step reward, and 1 more or less where it reaches an exit. A return is then the book's utility.
    """

    observation_space, action_space = Discrete(len(CELLS)), Discrete(4)

    def __init__(self, size: int, step_reward: float = -0.04, random_start: bool = False) -> None:
        self.cumulative = room_model(step_reward).transition.cumsum(dim=2).numpy()
        self.exit_reward = np.array([EXITS.get(cell, 0.0) for cell in CELLS])
        self.is_exit = np.array([cell in EXITS for cell in CELLS])
        self.step_reward = step_reward
        self.starts = np.flatnonzero(~self.is_exit) if random_start else np.array([STATE_OF[START]])
        self.state: dict[str, NDArray[Any]] = {"state": np.zeros(size, dtype=np.int64)}

    def start(self, random: np.random.Generator, rows: NDArray[np.bool_]) -> None:
        """Put some robots at a start; one is drawn for every room."""
        self.state["state"] = np.where(rows, random.choice(self.starts, size=len(rows)), self.state["state"])

    def play(
        self, action: NDArray[np.int64], random: np.random.Generator, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move some robots; give rewards and whether an exit was reached, [N] each."""
        draw, state = random.random(len(rows))[:, None], self.state["state"]
        following = np.minimum((draw >= self.cumulative[state, action]).sum(axis=1), len(CELLS) - 1)
        self.state["state"] = np.where(rows, following, state)
        return np.where(rows, self.step_reward + self.exit_reward[following], 0.0), self.is_exit[following] & rows

    def seen(self) -> NDArray[np.int64]:
        """Give the cells' numbers."""
        return self.state["state"].copy()

    def info(self) -> dict[str, NDArray[Any]]:
        """Give nothing else."""
        return {}

    def draw(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw each room from above."""
        from seqrl.tasks.gridworld.drawing import draw_robot

        return tuple(draw_robot(CELLS[state], FRAME_WIDTH) for state in self.state["state"].tolist())


class RobotInARoom(OneGame):
    """The 4x3 world: 11 numbered states row by row from the lower left, actions up, right, down, left.

    Args:
        step_reward: reward of every step.
        random_start: begin in any cell that is no exit, instead of the lower left one.
        render_mode: "rgb_array" or None.

    Source: Russell & Norvig 2010 (Artificial intelligence, 3rd edition), section 17.1.
    """

    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Rooms(1, **options), render_mode)


class RobotsInRooms(ManyGames):
    """Many rooms that step at once, with the options of `RobotInARoom`; rows that have ended are reset by their next step."""

    metadata = {**METADATA, **ManyGames.metadata}

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 100, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Rooms(num_envs, **options), num_envs, max_episode_steps, render_mode)
