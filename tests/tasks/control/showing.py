"""Environments that show pictures, numbers and masks, for the tests: registered as Told-v0 and its like when imported."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

NUM_ACTIONS, LENGTH = 4, 8
FORMS: dict[str, tuple[tuple[int, ...], type[Any], float]] = {
    "last": ((16, 16, 3), np.uint8, 255),
    "first": ((3, 16, 16), np.uint8, 255),
    "grey": ((16, 16), np.uint8, 255),
    "float": ((16, 16, 3), np.float32, 255),
    "unit": ((16, 16, 1), np.float32, 1),
    "stack": ((2, 16, 16, 3), np.uint8, 255),
}


class Guess(gym.Env[Any, int]):
    """Pays 1/8 for the right one of four actions, eight times; subclasses show which it is."""

    action_space = Discrete(NUM_ACTIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._next(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(int(action) == self.right) / LENGTH
        self.time += 1
        return self._next(), reward, self.time == LENGTH, False, {}

    def _next(self) -> Any:
        self.right = int(self.np_random.integers(NUM_ACTIONS))
        return self._shown()

    def _shown(self) -> Any:
        raise NotImplementedError


class Told(Guess):
    """Shows a picture of noise, and a number that is the right action."""

    observation_space = Dict({"picture": Box(0, 255, (16, 16, 3), np.uint8), "number": Box(0, 3, (1,), np.float32)})

    def _shown(self) -> Any:
        noise = self.np_random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return {"picture": noise, "number": np.array([self.right], np.float32)}


class Spot(Guess):
    """Shows a picture whose bright quarter is the right action, in one of `FORMS`; in parts with a number without meaning."""

    def __init__(self, form: str = "last", parts: bool = False) -> None:
        self.form, self.parts = form, parts
        shape, kind, brightest = FORMS[form]
        box = Box(0, brightest, shape, kind)
        self.observation_space = Dict({"picture": box, "number": Discrete(3)}) if parts else box

    def _shown(self) -> Any:
        shape, kind, brightest = FORMS[self.form]
        picture = np.zeros((16, 16))
        top, left = 8 * (self.right // 2) + self.np_random.integers(5), 8 * (self.right % 2) + self.np_random.integers(5)
        picture[top : top + 4, left : left + 4] = brightest
        if self.form == "first":
            picture = np.broadcast_to(picture, shape)
        elif len(shape) > 2:
            picture = np.broadcast_to(picture[..., None], shape)
        shown = picture.astype(kind)
        return {"picture": shown, "number": int(self.np_random.integers(3))} if self.parts else shown


class Board(gym.Env[Any, int]):
    """A game in the form of PettingZoo's: each field may be taken once; to take a taken one is an error. Pays 1/9 a field."""

    action_space = Discrete(9)

    def __init__(self, key: str = "action_mask", wrong: str = "", picture: bool = False) -> None:
        self.key, self.wrong = key, wrong
        shown = Box(0, 255, (16, 16, 3), np.uint8) if picture else Box(0, 1, (3, 3), np.int8)
        self.observation_space = Dict({"observation": shown, key: MultiBinary(9) if not picture else Box(0, 1, (9,), np.int8)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.taken = np.zeros(9, np.int8)
        return self._shown(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self.taken[action], "a taken field"
        self.taken[action] = 1
        return self._shown(), 1 / 9, bool(self.taken.all()), False, {}

    def _shown(self) -> dict[str, Any]:
        space = self.observation_space["observation"]
        mask = np.zeros(9, np.int8) if self.wrong == "nothing" and self.taken.sum() == 4 else 1 - self.taken
        seen = self.taken.reshape(3, 3) if space.shape == (3, 3) else np.full(space.shape, 20 * self.taken.sum(), np.uint8)
        return {"observation": seen.copy(), self.key: mask}


for _kind in (Told, Spot, Board):
    if f"{_kind.__name__}-v0" not in gym.registry:
        gym.register(f"{_kind.__name__}-v0", entry_point=_kind, max_episode_steps=20)
