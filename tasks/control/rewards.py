"""What a trainer sees of the rewards: scaled by the spread of the returns, then clipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.distributed import from_all
from seqrl.functional.shaping import Moments, clip_reward, merge_moments, moments_of, running_return, scale_reward
from seqrl.trajectory import Trajectory


class RewardShaper:
    """Keeps the spread of the discounted returns so far, in all processes, and divides the rewards of each rollout by it.

    Source: Engstrom et al. 2020 (Implementation matters in deep policy gradients), reward scaling and clipping.
    Differs from: there the spread changes within a rollout; here all of its steps have the same unit.

    `changes` says whether rewards are changed at all, `unit_moves` whether the same reward may become another one later.

    Args:
        scale: whether to divide by the deviation of the returns.
        gamma: discount of those returns.
        clip: the largest size of a reward, after scaling; 0 for no limit.
    """

    def __init__(self, *, scale: bool, gamma: float, clip: float) -> None:
        self.unit_moves, self._discount, self._clip = scale, gamma, clip
        self.changes, self.stays_raw = scale or bool(clip), False
        self._moments = Moments()
        self._running: Tensor | None = None

    def shape(self, trajectory: Trajectory, *, goes_on: bool) -> Trajectory:
        """Change the rewards of a rollout [B, T]; where `stays_raw` is set, only look at them.

        Args:
            trajectory: fresh from the environments.
            goes_on: whether its rows continue those of the rollout before.
        """
        reward = trajectory.reward
        if self.unit_moves:
            start = self._running if self._running is not None and goes_on else torch.zeros_like(reward[:, 0])
            total, self._running = running_return(reward, trajectory.terminated | trajectory.truncated, self._discount, start)
            sample = moments_of(total, trajectory.mask)
            for part in from_all((sample.count, sample.mean, sample.variance)):  # a reward has one unit in all processes
                self._moments = merge_moments(self._moments, Moments(*part))
        return trajectory if self.stays_raw else trajectory.replace(reward=self.present(reward))

    def present(self, reward: Tensor) -> Tensor:
        """Bring raw rewards of any shape into the unit of the moment."""
        if self.unit_moves:
            reward = scale_reward(reward, self._moments)
        return clip_reward(reward, -self._clip, self._clip) if self._clip else reward

    def restart(self) -> None:
        """Forget the returns of episodes that will not go on."""
        self._running = None

    def state_dict(self) -> dict[str, Any]:
        """Give the statistics."""
        moments = self._moments
        return {"count": moments.count, "mean": moments.mean, "variance": moments.variance, "running": self._running}

    def load_shared_state(self, state: dict[str, Any]) -> None:
        """Take over the unit of the rewards, which is one in all processes, and no returns of another one's episodes."""
        self._moments = Moments(state["count"], state["mean"], state["variance"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to saved statistics."""
        self.load_shared_state(state)
        self._running = None if state["running"] is None else state["running"].clone()
