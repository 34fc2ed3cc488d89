"""An environment whose place in its episode can be written down and found again, whatever it is made of."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from seqrl.failures import EnvironmentFailed, describe
from seqrl.tasks.control.spaces import packed_action, unpacked_action


class Replayable(gym.Wrapper):  # gymnasium's vector environments take nothing but its own classes
    """Resets each episode with a seed of its own and remembers the actions since.

    Seed and actions are the environment's state: resetting with the one and taking the others leads there again, wherever
    the same seed and actions give the same observations. Gymnasium has no call that reads a state.

    Args:
        env: what is wrapped.
        name: what errors call it.
        row: its place in the vector environment.
    """

    def __init__(self, env: gym.Env, name: str, row: int) -> None:
        super().__init__(env)
        self.reproduced = True
        self._where = f"row {row} of environment {name}"
        self._seed, self._episode = 0, 0
        self._actions: list[np.ndarray] = []
        self._observation: Any = np.zeros(0)
        self._ended = self._reset_due = self._resting = False

    def rest(self) -> None:
        """Do nothing until the next reset with a seed: what follows an episode is not always wanted."""
        self._resting = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; a given seed starts a new series of them."""
        if seed is not None:
            self._seed, self._episode, self._resting = seed, 0, False
        elif self._resting:
            return self._observation, {}
        else:
            self._episode += 1
        self._actions, self._ended, self._reset_due = [], False, False
        derived = self._seed if self._episode == 0 else int(np.random.SeedSequence([self._seed, self._episode]).generate_state(1)[0])
        try:
            self._observation, info = self.env.reset(seed=derived, options=options)
        except Exception as error:
            raise EnvironmentFailed(f"{self._where} failed to reset for episode {self._episode}: {describe(error)}") from error
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action; after going back to the end of an episode, the dummy step that starts the next."""
        if self._resting:
            return self._observation, 0.0, False, False, {}
        if self._reset_due:
            observation, info = self.reset()
            return observation, 0.0, False, False, info
        self._actions.append(packed_action(action))
        try:
            self._observation, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            raise EnvironmentFailed(f"{self._where} failed at step {len(self._actions)} of its episode: {describe(error)}") from error
        self._ended = bool(terminated or truncated)
        return self._observation, reward, terminated, truncated, info

    @property
    def history(self) -> dict[str, Any]:
        """What leads to the present state: seed, number of the episode and its actions; and what is seen there."""
        return {
            "seed": self._seed,
            "episode": self._episode,
            "actions": np.stack(self._actions) if self._actions else np.zeros(0),
            "ended": self._ended or self._reset_due,
            "observation": np.array(self._observation),
        }

    @history.setter
    def history(self, history: dict[str, Any]) -> None:
        """Go there again; `reproduced` says whether the same is seen."""
        self._seed, self._episode = history["seed"], history["episode"] - 1
        self.reset()
        for action in history["actions"]:
            self.step(unpacked_action(action, self.action_space))
        self.reproduced = self._ended == history["ended"] and np.array_equal(np.asarray(self._observation), history["observation"])
        # The vector environment does not know that the episode has ended.
        self._reset_due = history["ended"]
