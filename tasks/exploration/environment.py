"""The worlds as gymnasium environments, alone and as many copies that step at once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.exploration.names import CHAIN_LENGTH, CHAIN_STEPS, KEY_DOOR_SIZE, KEY_DOOR_STEPS
from seqrl.tasks.exploration.worlds import World, chain, key_door

CELL_PIXELS = 24
METADATA = {"render_modes": ["rgb_array"], "render_fps": 8}


class Walks:
    """N walks through a world; see `seqrl.tasks.control.games.Games`. What is seen is the number of the state.

    Args:
        world: the same for all.
        size: N.
    """

    def __init__(self, world: World, size: int) -> None:
        self.world = world
        self.observation_space, self.action_space = (Discrete(number) for number in world.following.shape)
        self.state: dict[str, NDArray[Any]] = {"state": np.full(size, world.start, dtype=np.int64)}

    def start(self, random: np.random.Generator, rows: NDArray[np.bool_]) -> None:
        """Put some walks at the start."""
        self.state["state"] = np.where(rows, self.world.start, self.state["state"])

    def play(
        self, action: NDArray[np.int64], random: np.random.Generator, rows: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take a step in some walks; give rewards and whether they ended, [N] each."""
        world, state = self.world, self.state["state"]
        self.state["state"] = np.where(rows, world.following[state, action], state)
        return np.where(rows, world.reward[state, action], 0.0), world.ends[state, action] & rows

    def seen(self) -> NDArray[np.int64]:
        """Give the states' numbers."""
        return self.state["state"].copy()

    def info(self) -> dict[str, NDArray[Any]]:
        """Give nothing else."""
        return {}

    def draw(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw each world from above."""
        big = np.ones((CELL_PIXELS, CELL_PIXELS, 1), dtype=np.uint8)
        return tuple(np.kron(self.world.paint(state), big) for state in self.state["state"].tolist())


class OneWalk(OneGame):
    """One walk through a world."""

    metadata = METADATA

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        super().__init__(Walks(world, 1), render_mode)


class ManyWalks(ManyGames):
    """Many walks through a world that step at once; rows that have ended are reset by their next step."""

    metadata = {**METADATA, **ManyGames.metadata}

    def __init__(self, world: World, num_envs: int, max_episode_steps: int, render_mode: str | None) -> None:
        super().__init__(Walks(world, num_envs), num_envs, max_episode_steps, render_mode)


def one_chain(length: int = CHAIN_LENGTH, render_mode: str | None = None, **options: Any) -> OneWalk:
    """Make a chain; see `seqrl.tasks.exploration.worlds.chain` for the options."""
    return OneWalk(chain(length, **options), render_mode)


def many_chains(
    num_envs: int = 1, max_episode_steps: int = CHAIN_STEPS, render_mode: str | None = None, length: int = CHAIN_LENGTH, **options: Any
) -> ManyWalks:
    """Make many chains; see `seqrl.tasks.exploration.worlds.chain` for the options; warn where the right end is out of reach."""
    if max_episode_steps < length - 2:
        warnings.warn(
            f"length: the right end of a chain of {length} states is {length - 2} steps away, and an episode has {max_episode_steps}; "
            f"set task.max_episode_steps={length + 9}",
            stacklevel=2,
        )
    return ManyWalks(chain(length, **options), num_envs, max_episode_steps, render_mode)


def one_key_door(size: int = KEY_DOOR_SIZE, render_mode: str | None = None) -> OneWalk:
    """Make a grid with a key and a door; see `seqrl.tasks.exploration.worlds.key_door`."""
    return OneWalk(key_door(size), render_mode)


def many_key_doors(
    num_envs: int = 1, max_episode_steps: int = KEY_DOOR_STEPS, render_mode: str | None = None, size: int = KEY_DOOR_SIZE
) -> ManyWalks:
    """Make many grids; see `seqrl.tasks.exploration.worlds.key_door`."""
    return ManyWalks(key_door(size), num_envs, max_episode_steps, render_mode)
