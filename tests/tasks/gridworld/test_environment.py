"""The room as a gymnasium environment: it moves as its model says, alone and in rows."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqrl.tasks.gridworld import ENVIRONMENT
from seqrl.tasks.gridworld.room import STATE_OF, room_model


def test_passes_gymnasiums_checks() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make(ENVIRONMENT, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize(("cell", "action"), [((1, 1), 0), ((3, 2), 1), ((3, 3), 1), ((4, 1), 0)])
def test_moves_as_the_model_says(cell: tuple[int, int], action: int) -> None:
    envs = gym.make_vec(ENVIRONMENT, 20_000, vectorization_mode="vector_entry_point").unwrapped
    envs.reset(seed=0)
    envs.games.state["state"][:] = STATE_OF[cell]
    following, reward, terminated, truncated, _ = envs.step(np.full(20_000, action))
    shares = np.bincount(following, minlength=11) / 20_000
    np.testing.assert_allclose(shares, room_model(0.0).transition[STATE_OF[cell], action].numpy(), atol=0.01)
    exits = {STATE_OF[(4, 3)]: 0.96, STATE_OF[(4, 2)]: -1.04}
    assert np.allclose(reward, [exits.get(state, -0.04) for state in following.tolist()])
    assert (terminated == np.isin(following, list(exits))).all() and not truncated.any()


def test_rows_reset_themselves_one_step_after_their_end() -> None:
    envs = gym.make_vec(ENVIRONMENT, 3, vectorization_mode="vector_entry_point", max_episode_steps=4).unwrapped
    envs.reset(seed=1)
    envs.games.state["state"][:] = [STATE_OF[(3, 3)], STATE_OF[(1, 1)], STATE_OF[(1, 1)]]
    for _ in range(20):  # until the first row has left to the right
        seen, _, terminated, truncated, _ = envs.step(np.array([1, 3, 3]))
        if terminated[0] or truncated[0]:
            break
    assert terminated[0] and seen[0] == STATE_OF[(4, 3)]
    seen, reward, terminated, truncated, _ = envs.step(np.array([1, 3, 3]))
    assert seen[0] == STATE_OF[(1, 1)] and reward[0] == 0.0 and not terminated[0]
    lengths = 2
    while not truncated[1]:
        truncated = envs.step(np.array([1, 3, 3]))[3]
        lengths += 1
    assert lengths <= 4


def test_state_can_be_saved_and_restored() -> None:
    envs = [gym.make_vec(ENVIRONMENT, 5, vectorization_mode="vector_entry_point", random_start=True).unwrapped for _ in (0, 1)]
    actions = torch.randint(4, (60, 5), generator=torch.Generator().manual_seed(0)).numpy()
    envs[0].reset(seed=3)
    for row in actions[:30]:
        envs[0].step(row)
    envs[1].reset(seed=9)
    envs[1].load_state_dict(envs[0].state_dict())
    for row in actions[30:]:
        for one, two in zip(envs[0].step(row)[:4], envs[1].step(row)[:4], strict=True):
            assert (one == two).all()


def test_optimal_policy_earns_its_published_utility() -> None:
    envs = gym.make_vec(ENVIRONMENT, 4000, vectorization_mode="vector_entry_point").unwrapped
    from seqrl.tasks.gridworld.planning import policy_iteration

    actions = policy_iteration(room_model(-0.04))[0].numpy()
    seen, _ = envs.reset(seed=5)
    total, live = np.zeros(4000), np.ones(4000, dtype=bool)
    for _ in range(100):
        seen, reward, terminated, truncated, _ = envs.step(actions[seen])
        total += np.where(live, reward, 0.0)
        live &= ~(terminated | truncated)
    assert total.mean() == pytest.approx(0.705, abs=4 * total.std() / np.sqrt(4000))
