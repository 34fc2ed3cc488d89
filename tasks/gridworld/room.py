"""The robot in a room: Russell and Norvig's 4x3 world, where a move goes astray to the side one time in five."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.tasks.gridworld.planning import Model, best_actions, policy_changes, policy_iteration, staying_actions

COLUMNS, ROWS = 4, 3
WALL = (2, 2)
EXITS = {(4, 3): 1.0, (4, 2): -1.0}
START = (1, 1)
# (column, row) counted from the lower left as in the book; states go row by row.
CELLS = [(column, row) for row in range(1, ROWS + 1) for column in range(1, COLUMNS + 1) if (column, row) != WALL]
STATE_OF = {cell: state for state, cell in enumerate(CELLS)}
# Clockwise, so that an action's neighbours are the sides it may slip to.
ACTIONS = ("up", "right", "down", "left")
ARROWS = "↑→↓←"
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
STRAIGHT = 0.8


def move(cell: tuple[int, int], direction: int) -> tuple[int, int]:
    """Give the cell that one step leads to; the wall and the borders hold the robot where it is."""
    column, row = cell[0] + MOVES[direction][0], cell[1] + MOVES[direction][1]
    return (column, row) if (column, row) in STATE_OF else cell


def room_model(step_reward: float) -> Model:
    """Write the room down as a model of 11 states, the two exits among them.

    A cell gives `step_reward` when it is left and an exit gives +1 or -1 and ends, so that U(s) = R(s) + γ max_a Σ_s' P(s' | s, a) U(s')
    with U(exit) = ±1, as in the book.

    Args:
        step_reward: R(s) of the other cells.

    Source: Russell & Norvig 2010 (Artificial intelligence, 3rd edition), section 17.1, figure 17.1.
    """
    S = len(CELLS)
    transition, reward = torch.zeros(S, 4, S, dtype=torch.float64), torch.full((S, 4), step_reward, dtype=torch.float64)
    for cell, state in STATE_OF.items():
        if cell in EXITS:
            reward[state] = EXITS[cell]
            continue
        for action in range(4):
            for turn, probability in ((0, STRAIGHT), (-1, (1 - STRAIGHT) / 2), (1, (1 - STRAIGHT) / 2)):
                transition[state, action, STATE_OF[move(cell, (action + turn) % 4)]] += probability
    return Model(transition, reward)


@dataclass(frozen=True)
class Solution:
    """What is best in the room.

    Attributes:
        step_reward: reward of a step.
        utility: [11] float64, infinite where it pays to stay for ever.
        best: [11, 4] bool, every best action; none in an exit.
    """

    step_reward: float
    utility: Tensor
    best: Tensor


def solve_room(step_reward: float, gamma: float = 1.0) -> Solution:
    """Find the utilities and every best action.

    With a step reward above 0 and no discount every utility is infinite, and the best actions are those that
    surely never lead into an exit.

    Args:
        step_reward: reward of a step.
        gamma: discount γ, per step.

    Raises:
        ValueError: when the discount is out of range.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma: expected a number above 0 and at most 1, got {gamma}")
    model = room_model(step_reward)
    if step_reward > 0 and gamma == 1:
        utility, best = torch.where(staying_actions(model).any(dim=1), torch.inf, model.reward[:, 0]), staying_actions(model)
    else:
        _, utility = policy_iteration(model, gamma)
        best = best_actions(model, utility, gamma)
    best[[STATE_OF[cell] for cell in EXITS]] = False
    return Solution(step_reward, utility, best)


def room_changes() -> list[float]:
    """Give the step rewards between -10 and 0 at which the best undiscounted policy changes."""
    model = room_model(0.0)
    per_step = torch.ones_like(model.reward)
    per_step[[STATE_OF[cell] for cell in EXITS]] = 0.0
    return policy_changes(model, per_step, -10.0, 0.0)


def describe_solution(solution: Solution) -> str:
    """Lay utilities and best actions out as the room is."""
    lines = []
    for row in range(ROWS, 0, -1):
        cells = []
        for column in range(1, COLUMNS + 1):
            state = STATE_OF.get((column, row))
            if state is None:
                cells.append("#" * 12)
                continue
            arrows = "".join(arrow for arrow, best in zip(ARROWS, solution.best[state].tolist(), strict=True) if best)
            cells.append(f"{float(solution.utility[state]):7.3f} {arrows or 'exit':<4}")
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
