"""The robot in a room against what Russell and Norvig print."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from seqrl.tasks.gridworld import command
from seqrl.tasks.gridworld.planning import Model, evaluate_policy, policy_iteration, value_iteration
from seqrl.tasks.gridworld.room import ACTIONS, STATE_OF, room_changes, room_model, solve_room

PUBLISHED = {
    (1, 3): 0.812, (2, 3): 0.868, (3, 3): 0.918, (4, 3): 1.0,
    (1, 2): 0.762, (3, 2): 0.660, (4, 2): -1.0,
    (1, 1): 0.705, (2, 1): 0.655, (3, 1): 0.611, (4, 1): 0.388,
}  # fmt: skip
CHANGES = [-1.6497, -1.5643, -0.7311, -0.4526, -0.0850, -0.0448, -0.0274, -0.0221]
# Read off the book's figures; rows from above, W for the wall, + and - for the exits.
FIGURES = {-2.0: ["rrr+", "uWr-", "rrru"], -0.1: ["rrr+", "uWu-", "urul"], -0.04: ["rrr+", "uWu-", "ulll"]}


def picture(step_reward: float) -> list[str]:
    """The only best action of each cell."""
    solution, lines = solve_room(step_reward), []
    for row in (3, 2, 1):
        line = ""
        for column in (1, 2, 3, 4):
            cell = (column, row)
            if cell not in STATE_OF:
                line += "W"
            elif cell in ((4, 3), (4, 2)):
                line += {3: "+", 2: "-"}[row]
            else:
                best = solution.best[STATE_OF[cell]].nonzero().flatten().tolist()
                assert len(best) == 1
                line += ACTIONS[best[0]][0]
        lines.append(line)
    return lines


def test_utilities_are_the_published_ones() -> None:
    model = room_model(-0.04)
    for utility in (value_iteration(model), policy_iteration(model)[1], solve_room(-0.04).utility):
        assert {cell: round(float(utility[state]), 3) for cell, state in STATE_OF.items()} == PUBLISHED


@pytest.mark.parametrize("step_reward", sorted(FIGURES))
def test_policies_are_the_drawn_ones(step_reward: float) -> None:
    assert picture(step_reward) == FIGURES[step_reward]


def test_policy_changes_where_the_book_says() -> None:
    assert [round(change, 4) for change in room_changes()] == CHANGES


def test_policy_is_constant_between_changes_and_differs_across_them() -> None:
    # By value iteration, which knows nothing of lines and crossings.
    points = [-3.0, *CHANGES, 0.0]
    sets = []
    for low, high in zip(points, points[1:], strict=False):
        inside = [low + (high - low) * share for share in (0.1, 0.9)]
        policies = [room_model(r).action_values(value_iteration(room_model(r))).argmax(dim=1).tolist() for r in inside]
        assert policies[0] == policies[1]
        sets.append(policies[0])
    assert all(one != two for one, two in zip(sets, sets[1:], strict=False))


def test_with_a_reward_for_staying_no_exit_is_ever_risked() -> None:
    solution = solve_room(0.01)
    best = {
        cell: "".join(name[0] for name, good in zip(ACTIONS, solution.best[s].tolist(), strict=True) if good)
        for cell, s in STATE_OF.items()
    }
    assert {cell: best[cell] for cell in ((3, 3), (3, 2), (4, 1))} == {(3, 3): "l", (3, 2): "l", (4, 1): "d"}
    assert all(best[cell] == "urdl" for cell in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (2, 3)))
    # A gamma just below 1 chooses the same, each utility being 0.01 / (1 - 0.9999).
    discounted = solve_room(0.01, gamma=0.9999)
    assert torch.equal(discounted.best, solution.best)
    assert float(discounted.utility[0]) == pytest.approx(100.0)


def test_a_chain_by_hand() -> None:
    # From 0 action 0 earns 1 and leads to 1, which earns 2 and ends; action 1 ends with 2.5 at once.
    transition = torch.zeros(2, 2, 2, dtype=torch.float64)
    transition[0, 0, 1] = 1.0
    model = Model(transition, torch.tensor([[1.0, 2.5], [2.0, 2.0]], dtype=torch.float64))
    assert value_iteration(model).tolist() == [3.0, 2.0]
    assert value_iteration(model, 0.5).tolist() == [2.5, 2.0]
    assert policy_iteration(model)[0].tolist() == [0, 0] and policy_iteration(model, 0.5)[0].tolist()[0] == 1
    assert evaluate_policy(model, torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)).tolist() == [2.75, 2.0]


@pytest.mark.parametrize(
    ("name", "steps", "optimum"), [("FrozenLake-v1", 100, 0.744), ("Taxi-v4", 200, 7.93), ("CliffWalking-v1", 100, -13)]
)
def test_known_optima_of_gymnasiums_tables(name: str, steps: int, optimum: float) -> None:
    import gymnasium as gym
    from tables import read_model

    environment = gym.make(name).unwrapped
    utility = value_iteration(read_model(environment.P), tolerance=0, max_sweeps=steps)
    assert float((utility * torch.tensor(environment.initial_state_distrib)).sum()) == pytest.approx(optimum, abs=5e-4)


def test_endless_worlds_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma < 1"):
        value_iteration(room_model(0.01), max_sweeps=100)
    with pytest.raises(ValueError, match="gamma"):
        solve_room(-0.04, gamma=1.5)
    with pytest.raises(ValueError, match="at most 1"):
        Model(torch.full((1, 1, 1), 1.5), torch.zeros(1, 1))


def test_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--step-reward", "-0.04", "0.01", "--output", str(tmp_path / "room.png")])) == 0
    assert (tmp_path / "room.png").stat().st_size > 5000
    assert command.run(parser.parse_args(["--changes"])) == 0
    printed = capsys.readouterr().out
    assert "0.812" in printed and "inf ↑→↓←" in printed and "-1.6497, -1.5643" in printed
