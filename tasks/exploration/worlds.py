"""What happens in the worlds, as tables: where each action leads from each state, and what it earns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Columns and rows that up, right, down, left move by.
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
TAKE, OPEN = 4, 5
WALL_COLOUR, FLOOR_COLOUR, AGENT_COLOUR = (68, 68, 68), (235, 235, 235), (0, 114, 178)
KEY_COLOUR, DOOR_COLOUR, GOAL_COLOUR = (230, 159, 0), (213, 94, 0), (0, 158, 115)


@dataclass(frozen=True)
class World:
    """S numbered states and A actions without chance.

    Attributes:
        following: [S, A] long, the state that an action leads to.
        reward: [S, A] float64, what that earns.
        ends: [S, A] bool, whether the episode ends there.
        start: the first state.
        paint: gives the colours of a state's cells, uint8 [rows, columns, 3], the upper row first.
    """

    following: NDArray[np.int64]
    reward: NDArray[np.float64]
    ends: NDArray[np.bool_]
    start: int
    paint: Callable[[int], NDArray[np.uint8]]


def chain(length: int = 50, small_reward: float = 0.001) -> World:
    """States in a row, actions left and right: a step onto the left end earns a little, one onto the right end 1, and to stay there, too.

    The first state is the second from the left. In length + 9 steps the best return is 12, and only an episode that goes right nearly
    every time sees any of it: of chance actions one episode in 2^(length - 2) takes the shortest way.

    Args:
        length: number of states.
        small_reward: of the left end.

    Raises:
        ValueError: for fewer than three states.

    Source: Osband et al. 2016 (Deep exploration via bootstrapped DQN), the chain.
    """
    if length < 3:
        raise ValueError(f"length: expected a chain of at least 3 states, got {length}; set task.environment_options.length")
    states = np.arange(length)
    following = np.stack([np.maximum(states - 1, 0), np.minimum(states + 1, length - 1)], axis=1)
    reward = np.where(following == 0, small_reward, np.where(following == length - 1, 1.0, 0.0))

    def paint(state: int) -> NDArray[np.uint8]:
        cells = np.full((1, length, 3), FLOOR_COLOUR, dtype=np.uint8)
        cells[0, 0], cells[0, -1], cells[0, state] = KEY_COLOUR, GOAL_COLOUR, AGENT_COLOUR
        return cells

    return World(following, reward, np.zeros_like(following, dtype=bool), 1, paint)


def key_door(size: int = 9) -> World:
    """Two rooms with a wall between: take the key, open the door with it, and reach the goal, which alone earns anything: 1.

    The wall is the column in the middle, the door in the middle of it. One begins in the lower corner of the left room beside the wall;
    the key lies in that room's upper left corner, and the goal in the lower right corner of the other room. Actions: up, right, down,
    left, take what lies here, open the door beside one. What has no effect leaves everything as it is. A state is the cell and how far
    one has come: without a key, with it, with the door open.

    Args:
        size: cells along each side of the square.

    Raises:
        ValueError: for an even number, or one below 5.

    Source: the door-key room of Chevalier-Boisvert et al. 2023 (Minigrid & Miniworld: modular & customizable reinforcement learning
    environments).
    Differs from: theirs in numbered states and moves without a direction that one looks in; always the same room.
    """
    if size < 5 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of at least 5, got {size}; set task.environment_options.size")
    middle = size // 2
    door, key, goal, begin = (middle, middle), (0, size - 1), (size - 1, 0), (middle - 1, 0)
    cells = [(column, row) for row in range(size) for column in range(size)]

    def state_of(cell: tuple[int, int], stage: int) -> int:
        return stage * size * size + cell[1] * size + cell[0]

    def walkable(cell: tuple[int, int], stage: int) -> bool:
        inside = min(cell) >= 0 and max(cell) < size
        return inside and (cell[0] != middle or (cell == door and stage == 2))

    def after(cell: tuple[int, int], stage: int, action: int) -> tuple[tuple[int, int], int]:
        if action == TAKE:
            return cell, 1 if stage == 0 and cell == key else stage
        if action == OPEN:
            beside = abs(cell[0] - door[0]) + abs(cell[1] - door[1]) == 1
            return cell, 2 if stage == 1 and beside else stage
        there = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
        return (there if walkable(there, stage) else cell), stage

    moves = [[state_of(*after(cell, stage, action)) for action in range(6)] for stage in range(3) for cell in cells]
    following = np.array(moves)
    ends = following % (size * size) == state_of(goal, 0)

    def paint(state: int) -> NDArray[np.uint8]:
        stage, place = divmod(state, size * size)
        picture = np.full((size, size, 3), FLOOR_COLOUR, dtype=np.uint8)
        picture[:, middle] = WALL_COLOUR
        picture[door[::-1]] = FLOOR_COLOUR if stage == 2 else DOOR_COLOUR
        picture[goal[::-1]] = GOAL_COLOUR
        if stage == 0:
            picture[key[::-1]] = KEY_COLOUR
        picture[divmod(place, size)] = AGENT_COLOUR
        return picture[::-1]

    return World(following, ends.astype(np.float64), ends, state_of(begin, 0), paint)
