"""Sources that need no task: a growing row of tokens, and gymnasium's vector environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


class TokenSource:
    """Feeds each chosen token back as the next observation until the end token or the maximum length.

    The end token itself is an action that counts. At `max_tokens` the row terminates: a caption that is not finished by
    then is scored as it stands.

    Args:
        batch_size: number of rows B.
        begin: token seen before the first action.
        end: token that ends a row.
        max_tokens: longest row, end token included.
        device: where the tensors live.
    """

    def __init__(self, batch_size: int, *, begin: int, end: int, max_tokens: int, device: torch.device | str = "cpu") -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1, got {max_tokens}")
        self.obs: Tensor = torch.full((batch_size,), begin, dtype=torch.long, device=device)
        self.active = torch.ones(batch_size, dtype=torch.bool, device=device)
        self.finished = False
        self._end = end
        self._remaining = max_tokens

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Append one token [B] to each row; the reward is 0, since a text is scored as a whole."""
        self._remaining -= 1
        ended = self.active & ((action == self._end) | (self._remaining <= 0))
        self.obs = action
        self.active = self.active & ~ended
        self.finished = not bool(self.active.any())
        return self.obs, torch.zeros(action.shape[0], device=action.device), ended, torch.zeros_like(ended)


@dataclass(frozen=True)
class Episode:
    """One finished episode of an environment.

    Attributes:
        episode_return: undiscounted sum of its rewards.
        length: number of environment steps.
        truncated: whether it was cut short.
    """

    episode_return: float
    length: int
    truncated: bool


class VectorEnvSource:
    """Steps a gymnasium vector environment in its default `NEXT_STEP` autoreset mode.

    After an episode has ended, gymnasium returns its true last observation and spends one dummy step on the reset; that
    dummy step is not `active`.

    Args:
        envs: a gymnasium vector environment.
        seed: seed of the environments, for the first reset.
        device: where the tensors live.

    Raises:
        ValueError: when the environment resets itself in another mode.
    """

    def __init__(self, envs: Any, *, seed: int, device: torch.device | str = "cpu") -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not None and getattr(mode, "name", str(mode)) != "NEXT_STEP":
            raise ValueError(f"autoreset_mode: expected NEXT_STEP, got {mode}; make the vector environment with its default")
        self.envs = envs
        self.device = device
        self.finished = False
        self.episodes: list[Episode] = []
        self.num_env_steps = 0
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Start every environment anew."""
        observation, _ = self.envs.reset(seed=seed)
        self.obs = self._tensor(observation)
        self.active = torch.ones(self.envs.num_envs, dtype=torch.bool, device=self.device)
        self._returns = np.zeros(self.envs.num_envs)
        self._lengths = np.zeros(self.envs.num_envs, dtype=np.int64)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one action [B, ...] an environment."""
        live = self.active.cpu().numpy()
        observation, reward, terminated, truncated, _ = self.envs.step(action.cpu().numpy())
        if not np.isfinite(reward).all():
            broken = int(np.argmin(np.isfinite(reward)))
            raise ValueError(
                f"reward: expected finite numbers, environment {broken} gave {reward[broken]} at step {self.num_env_steps}; mend it"
            )
        self._returns += np.where(live, reward, 0.0)
        self._lengths += live
        self.num_env_steps += int(live.sum())
        ended = (terminated | truncated) & live
        for index in np.flatnonzero(ended):
            self.episodes.append(Episode(float(self._returns[index]), int(self._lengths[index]), not bool(terminated[index])))
        self._returns[ended] = 0.0
        self._lengths[ended] = 0
        self.obs = self._tensor(observation)
        self.active = self._tensor(~ended)
        earned = np.where(live, reward, 0.0).astype(np.float32)
        return self.obs, self._tensor(earned), self._tensor(terminated & live), self._tensor(truncated & live & ~terminated)

    def pop_episodes(self) -> list[Episode]:
        """Give the episodes that ended since the last call."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def _tensor(self, array: np.ndarray) -> Tensor:
        # The environment may reuse its buffer.
        return torch.tensor(array, device=self.device)
