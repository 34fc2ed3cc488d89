"""Environments that misbehave, for the tests: registered as Faulty-v0 and its like when imported."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np


class Faulty(gym.Env[np.ndarray, int]):
    """Misbehaves in the way named at step `at` of its first episode, in the rows whose seed is odd."""

    observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str = "not", at: int = 3) -> None:
        self.how, self.at, self.time, self.bad = how, at, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.bad = 0, seed is not None and seed % 2 == 1
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        observation, reward = np.full(2, 0.1 * self.time, np.float32), 1.0
        if self.bad and self.time == self.at:
            if self.how == "raises":
                raise ZeroDivisionError("the world ended")
            if self.how == "hangs":
                time.sleep(60)
            if self.how == "nan_reward":
                reward = float("nan")
            if self.how == "nan_observation":
                observation[1] = np.nan
        return observation, reward, False, False, {}


class Unrepeatable(Faulty):
    """Shows something else each time, whatever the seed."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, *outcome = super().step(action)
        return np.random.default_rng().random(2, np.float32), *outcome  # type: ignore[return-value]


class Parts(Faulty):
    """Shows a mapping of two parts, and takes several choices at once."""

    observation_space = gym.spaces.Dict({"place": gym.spaces.Box(-10, 10, (2,), np.float32), "kind": gym.spaces.Discrete(3)})  # type: ignore[assignment]
    action_space = gym.spaces.MultiBinary(3)  # type: ignore[assignment]

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        return {"place": super().reset(**settings)[0], "kind": 2}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        observation, reward, terminated, truncated, info = super().step(0)
        return {"place": observation, "kind": 1}, reward, terminated, truncated, info


class Corridor(gym.Env[np.ndarray, int]):
    """Shows [time left, whether the end is a termination] and pays 1 a step; rows whose seed is odd are cut short."""

    observation_space = gym.spaces.Box(-100, 100, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        assert seed is not None
        self.terminates, self.left = seed % 2 == 0, 2 + seed % 5
        return self._seen(), {"action_mask": self._allowed()}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self._allowed()[action] or not self._allowed().any()
        self.left -= 1
        over = self.left == 0
        return self._seen(), 1.0, over and self.terminates, over and not self.terminates, {"action_mask": self._allowed()}

    def _seen(self) -> np.ndarray:
        return np.array([self.left, self.terminates], dtype=np.float32)

    def _allowed(self) -> np.ndarray:
        """Even times left allow the first action, odd ones the second, none the last."""
        return np.array([self.left % 2 == 0, self.left % 2 == 1], dtype=np.int8) * (self.left > 0)


for _kind in (Faulty, Unrepeatable, Parts, Corridor):
    if f"{_kind.__name__}-v0" not in gym.registry:
        gym.register(f"{_kind.__name__}-v0", entry_point=_kind, max_episode_steps=None if _kind is Corridor else 20)
