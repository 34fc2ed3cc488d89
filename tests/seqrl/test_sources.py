"""Sources: when a row ends and how, with gymnasium's own vector environment around tiny scripted ones."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from seqrl.failures import EnvironmentFailed
from seqrl.sources import Episode, TokenSource, VectorEnvSource


class Countdown(gymnasium.Env[np.ndarray, int]):
    """Ends after `length` steps in the way named; shows [episode, time]; the reward is the time plus the action."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, length: int, end: str, reward: float | None = None) -> None:
        self.length, self.end, self.reward = length, end, reward
        self.episode, self.time = -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.episode, self.time = self.episode + 1, 0
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == self.length
        reward = float(self.time + action) if self.reward is None else self.reward
        return self._seen(), reward, over and "terminated" in self.end, over and "truncated" in self.end, {}

    def _seen(self) -> np.ndarray:
        return np.array([self.episode, self.time], dtype=np.float32)


def source_of(*envs: tuple[int, str], **options: Any) -> VectorEnvSource:
    return VectorEnvSource(SyncVectorEnv([lambda env=env: Countdown(*env) for env in envs], **options), seed=0)


def test_terminations_truncations_and_dummy_steps() -> None:
    source = source_of((2, "terminated"), (3, "truncated"))
    columns: dict[str, list[Any]] = {name: [] for name in ("obs", "reward", "terminated", "truncated", "active")}
    for _ in range(7):
        columns["active"].append(source.active.tolist())
        obs, *outcome = source.step(torch.tensor([0, 1]))
        columns["obs"].append(obs.tolist())
        for name, column in zip(("reward", "terminated", "truncated"), outcome, strict=True):
            columns[name].append(column.tolist())
    first, second = ({name: [step[i] for step in column] for name, column in columns.items()} for i in (0, 1))
    assert first["active"] == [True, True, False, True, True, False, True]
    assert first["reward"] == [1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    assert first["terminated"] == [False, True, False, False, True, False, False]
    assert first["truncated"] == [False] * 7
    # The true last observation comes with the end, the new episode's first one with the dummy step.
    assert first["obs"][:4] == [[0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [1.0, 1.0]]
    assert second["active"] == [True, True, True, False, True, True, True]
    assert second["reward"] == [2.0, 3.0, 4.0, 0.0, 2.0, 3.0, 4.0]
    assert second["terminated"] == [False] * 7
    assert second["truncated"] == [False, False, True, False, False, False, True]
    assert source.num_env_steps == 5 + 6 and not source.finished


def test_episodes_are_recorded_once() -> None:
    source = source_of((2, "terminated"), (3, "truncated"))
    for _ in range(7):
        source.step(torch.tensor([0, 1]))
    ended = source.pop_episodes()
    assert ended == [Episode(3.0, 2, False), Episode(9.0, 3, True), Episode(3.0, 2, False), Episode(9.0, 3, True)]
    assert source.pop_episodes() == []


def test_an_end_that_is_both_is_a_termination() -> None:
    source = source_of((1, "terminated and truncated"))
    _, _, terminated, truncated = source.step(torch.tensor([0]))
    assert terminated.tolist() == [True] and truncated.tolist() == [False]
    assert source.pop_episodes() == [Episode(1.0, 1, False)]


class Careless:
    """A vector environment of one whose dummy step carries numbers that mean nothing."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    num_envs = 1

    def __init__(self) -> None:
        self.script = [(1.0, False), (2.0, True), (99.0, True), (3.0, False), (4.0, True)]

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros((1, 2), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        reward, over = self.script.pop(0)
        return np.zeros((1, 2), np.float32), np.array([reward]), np.array([over]), np.array([False]), {}


def test_numbers_of_the_dummy_step_mean_nothing() -> None:
    source = VectorEnvSource(Careless(), seed=0)
    active, reward, terminated = [], [], []
    for _ in range(5):
        active.append(source.active.item())
        outcome = source.step(torch.tensor([0]))
        reward.append(outcome[1].item())
        terminated.append(outcome[2].item())
    assert active == [True, True, False, True, True]
    assert reward == [1.0, 2.0, 0.0, 3.0, 4.0] and terminated == [False, True, False, False, True]
    assert source.pop_episodes() == [Episode(3.0, 2, False), Episode(7.0, 2, False)]


def test_observations_are_not_overwritten() -> None:
    source = source_of((9, "terminated"), copy=False)
    before, _, _, _ = source.step(torch.tensor([0]))
    kept = before.clone()
    source.step(torch.tensor([0]))
    assert torch.equal(before, kept)


def test_reset_starts_anew() -> None:
    source = source_of((3, "terminated"))
    source.step(torch.tensor([2]))
    source.reset(seed=1)
    for _ in range(3):
        source.step(torch.tensor([0]))
    assert source.pop_episodes() == [Episode(6.0, 3, False)]


def test_other_autoreset_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="autoreset_mode: expected NEXT_STEP"):
        source_of((2, "terminated"), autoreset_mode=AutoresetMode.SAME_STEP)


def test_an_environment_that_fails_to_reset_is_named() -> None:
    source = source_of((3, "terminated"))

    def hang(seed: int | None = None) -> None:
        raise TimeoutError("no answer")  # an OSError, which a command takes for bad input

    source.envs.reset = hang
    with pytest.raises(EnvironmentFailed, match="^environment environment failed after 0 steps of all rows: TimeoutError: no answer$"):
        source.reset(seed=1)


def test_many_numbers_of_which_some_are_not_finite_fit_on_one_line() -> None:
    source = source_of((3, "terminated"))
    wide = np.zeros((1, 20, 20), np.float32)
    wide[0, 0, 0] = np.nan
    source.envs.step = lambda action: (wide, np.ones(1), np.zeros(1, bool), np.zeros(1, bool), {})
    with pytest.raises(EnvironmentFailed, match="row 0 .* gave .*nan 0") as caught:
        source.step(torch.tensor([0]))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_reward_that_is_not_finite_is_named() -> None:
    source = VectorEnvSource(SyncVectorEnv([lambda: Countdown(3, "terminated"), lambda: Countdown(3, "terminated", float("nan"))]), seed=0)
    with pytest.raises(
        EnvironmentFailed, match=r"reward: expected finite numbers, row 1 of environment .* gave nan at step 1 of its episode"
    ):
        source.step(torch.tensor([0, 0]))


def test_an_action_that_is_not_finite_is_no_fault_of_the_environment() -> None:
    source = source_of((3, "terminated"))
    source.envs.step = lambda action: (np.zeros((1, 1), np.float32), action, np.zeros(1, bool), np.zeros(1, bool), {})
    with pytest.raises(EnvironmentFailed, match=r"gave nan at step 1 of .*; the policy's action was not finite: lower the learning rate"):
        source.step(torch.tensor([float("nan")]))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("reward", [1e39, -1e39])
def test_a_reward_too_large_for_float32_is_named(reward: float) -> None:
    source = VectorEnvSource(SyncVectorEnv([lambda: Countdown(3, "terminated"), lambda: Countdown(3, "terminated", reward)]), seed=0)
    with pytest.raises(EnvironmentFailed, match=r"reward: .*row 1 of .* gave -?1.e\+39, too large for float32, at step 1"):
        source.step(torch.tensor([0, 0]))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_rewards_of_which_only_the_sum_is_too_large_are_none_of_its_business() -> None:
    source = VectorEnvSource(SyncVectorEnv([lambda: Countdown(3, "terminated", 3e38)] * 2), seed=0)
    assert source.step(torch.tensor([0, 0]))[1].tolist() == pytest.approx([3e38, 3e38])


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_an_observation_too_large_for_float32_is_named() -> None:
    source = source_of((3, "terminated"))
    source.envs.step = lambda action: (np.full((1, 2), 1e300), np.ones(1), np.zeros(1, bool), np.zeros(1, bool), {})
    with pytest.raises(EnvironmentFailed, match=r"observation: .*row 0 .* gave \[1.e\+300 1.e\+300\], too large for float32, at step 1"):
        source.step(torch.tensor([0]))


def test_tokens_until_the_end_token_or_the_maximum_length() -> None:
    source = TokenSource(3, begin=1, end=2, max_tokens=3)
    assert source.obs.tolist() == [1, 1, 1] and source.active.tolist() == [True] * 3
    table = torch.tensor([[2, 2, 5], [4, 2, 5], [4, 5, 6]])  # row 0 says the end token twice
    ended, active = [], []
    for t in range(3):
        active.append(source.active.tolist())
        assert not source.finished
        obs, reward, terminated, truncated = source.step(table[:, t])
        assert torch.equal(obs, table[:, t]) and not reward.any() and not truncated.any()
        ended.append(terminated.tolist())
    assert active == [[True, True, True], [False, True, True], [False, False, True]]
    assert ended == [[True, False, False], [False, True, False], [False, False, True]]
    assert source.finished


def test_no_room_for_tokens() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        TokenSource(1, begin=1, end=2, max_tokens=0)
