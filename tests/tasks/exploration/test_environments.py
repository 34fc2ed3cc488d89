"""The chain and the grid with a key and a door: their rules in words, their shortest ways, their best returns."""

from __future__ import annotations

from collections import deque

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqrl.tasks.control.task import EnvTask
from seqrl.tasks.exploration import CHAIN, KEY_DOOR
from seqrl.tasks.gridworld.planning import Model, value_iteration

UP, RIGHT, DOWN, LEFT, TAKE, OPEN = range(6)


def make(name: str, num_envs: int = 1, **options: object) -> gym.vector.VectorEnv:
    return gym.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **options).unwrapped


@pytest.mark.parametrize("name", [CHAIN, KEY_DOOR])
def test_pass_gymnasiums_checks(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make(name, render_mode="rgb_array").unwrapped)


def follow(name: str, actions: list[int], **options: object) -> list[tuple[int, float, bool, bool]]:
    """Take actions, alone and as the second of three rows: the same must come of them. Gives what came of each."""
    one, many = gym.make(name, **options), make(name, 3, **options)
    one.reset(seed=0)
    many.reset(seed=1)
    steps = []
    for action in actions:
        seen, reward, terminated, truncated, _ = one.step(action)
        columns = many.step(np.array([0, action, 1]))[:4]
        assert [column[1] for column in columns] == [seen, reward, terminated, truncated]
        steps.append((seen, reward, terminated, truncated))
    return steps


def test_chain_pays_at_its_ends_and_ends_by_its_time() -> None:
    right = follow(CHAIN, [1] * 59)
    assert [seen for seen, *_ in right] == [*range(2, 50), *[49] * 11]
    assert [reward for _, reward, *_ in right] == [0.0] * 47 + [1.0] * 12
    assert [truncated for *_, truncated in right] == [False] * 58 + [True] and not any(step[2] for step in right)
    left = follow(CHAIN, [0, 0, 1, 0], small_reward=0.5)
    assert [step[:2] for step in left] == [(0, 0.5), (0, 0.5), (1, 0.0), (0, 0.5)]


def chain_model(length: int) -> Model:
    """The chain, written down from its rules."""
    transition, reward = torch.zeros(length, 2, length, dtype=torch.float64), torch.zeros(length, 2, dtype=torch.float64)
    for state in range(length):
        transition[state, 0, max(0, state - 1)] = transition[state, 1, min(length - 1, state + 1)] = 1.0
    reward[0, 0] = reward[1, 0] = 0.001
    reward[length - 1, 1] = reward[length - 2, 1] = 1.0
    return Model(transition, reward)


def test_best_return_of_the_chain_is_that_of_going_right() -> None:
    utility = value_iteration(chain_model(50), tolerance=0, max_sweeps=59)
    assert float(utility[1]) == pytest.approx(sum(reward for _, reward, *_ in follow(CHAIN, [1] * 59))) == 12.0
    # Where the far end is out of reach, the near one is all that there is.
    assert float(value_iteration(chain_model(50), tolerance=0, max_sweeps=47)[1]) == pytest.approx(0.047)


# From beside the wall's lower end to the key in the far corner, to the door's cell, to the far corner of the other room.
SHORTEST = [LEFT] * 3 + [UP] * 8 + [TAKE] + [RIGHT] * 3 + [DOWN] * 4 + [OPEN] + [RIGHT] * 5 + [DOWN] * 4


def test_key_opens_the_door_and_the_goal_pays() -> None:
    steps = follow(KEY_DOOR, SHORTEST)
    assert [reward for _, reward, *_ in steps] == [0.0] * (len(SHORTEST) - 1) + [1.0]
    assert [terminated for _, _, terminated, _ in steps] == [False] * (len(SHORTEST) - 1) + [True]
    assert [steps[index][0] // 81 for index in (10, 11, 18, 19)] == [0, 1, 1, 2]  # how far one has come


def explored(size: int) -> tuple[dict[int, list[tuple[int, float, bool]]], dict[int, int]]:
    """Visit everything that can be reached, by acting; give what came of each action, and steps to each state."""
    env = gym.make(KEY_DOOR, size=size).unwrapped
    first, _ = env.reset(seed=0)
    found, distance, waiting = {}, {first: 0}, deque([first])
    while waiting:
        state = waiting.popleft()
        found[state] = []
        for action in range(6):
            env.games.state["state"][:] = state
            seen, reward, terminated, _, _ = env.step(action)
            found[state].append((seen, reward, terminated))
            if seen not in distance:
                distance[seen] = distance[state] + 1
                if not terminated:
                    waiting.append(seen)
    return found, distance


@pytest.mark.parametrize("size", [5, 7, 9])
def test_shortest_way_is_as_long_as_its_parts(size: int) -> None:
    found, distance = explored(size)
    middle = size // 2
    # Rooms are convex, so that ways within them are as long as rows and columns say; two steps more take the key and open the door.
    to_key, to_door, to_goal = middle - 1 + size - 1, middle - 1 + size - 1 - middle, 1 + size - 1 - middle + middle
    shortest = to_key + 1 + to_door + 1 + to_goal
    assert distance[2 * size * size + size - 1] == shortest
    # What can be reached: the left room without the key and with it; both rooms and the door once it is open.
    room = middle * size
    assert len(distance) == 2 * room + 2 * room + 1
    transition, reward = torch.zeros(3 * size**2, 6, 3 * size**2, dtype=torch.float64), torch.zeros(3 * size**2, 6, dtype=torch.float64)
    for state, outcomes in found.items():
        for action, (seen, earned, ended) in enumerate(outcomes):
            reward[state, action] = earned
            transition[state, action, seen] = 0.0 if ended else 1.0
    utility = value_iteration(Model(transition, reward), 0.9)
    assert float(utility[middle - 1]) == pytest.approx(0.9 ** (shortest - 1))


def test_without_the_key_the_door_stays_shut() -> None:
    beside = [UP] * 4 + [OPEN, RIGHT, RIGHT]
    assert [seen for seen, *_ in follow(KEY_DOOR, beside)][-3:] == [4 * 9 + 3] * 3
    assert [seen for seen, *_ in follow(KEY_DOOR, [TAKE, DOWN, RIGHT])] == [3, 3, 3]


def test_a_chain_that_is_too_long_for_an_episode_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="98 steps away.*task.max_episode_steps=109"):
        EnvTask(CHAIN, environment_options={"length": 100})


@pytest.mark.parametrize("name", [CHAIN, KEY_DOOR])
def test_state_can_be_saved_and_restored(name: str) -> None:
    envs = [make(name, 5, max_episode_steps=60) for _ in (0, 1)]
    actions = np.random.default_rng(0).integers(envs[0].single_action_space.n, size=(150, 5))
    envs[0].reset(seed=3)
    for row in actions[:80]:
        envs[0].step(row)
    envs[1].reset(seed=9)
    envs[1].load_state_dict(envs[0].state_dict())
    for row in actions[80:]:
        for one, two in zip(envs[0].step(row)[:4], envs[1].step(row)[:4], strict=True):
            assert (one == two).all()


def test_pictures_show_the_agent() -> None:
    for name, shape in ((CHAIN, (24, 1200, 3)), (KEY_DOOR, (216, 216, 3))):
        envs = make(name, 2, render_mode="rgb_array")
        envs.reset(seed=0)
        before = envs.render()
        envs.step(np.array([0, 1]))
        after = envs.render()
        assert before[0].shape == shape and (before[0] == before[1]).all() and not (after[0] == after[1]).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (CHAIN, {"environment_options": {"length": 2}}, r"length: expected a chain of at least 3 states, got 2"),
        (KEY_DOOR, {"environment_options": {"size": 8}}, r"size: expected an odd number of at least 5, got 8"),
        (KEY_DOOR, {"environment_options": {"length": 8}}, r"cannot be made.*task.environment_options"),
    ],
)
def test_refuses_what_cannot_be_played(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvTask(name, **settings)
