"""Whole episodes: each row from a reset to its first end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqrl.sources import Episode, VectorEnvSource
from seqrl.tasks.control.replayable import Replayable
from seqrl.trajectory import Trajectory, Tree


class EpisodeSource:
    """Plays one episode in each row; what a row does after its end neither counts nor earns.

    Args:
        source: its environments are reset.
        seed: of the reset; the same seed gives the same start states.
    """

    def __init__(self, source: VectorEnvSource, *, seed: int) -> None:
        source.reset(seed)
        source.pop_episodes()
        self._source = source
        self.obs: Tree = source.obs
        self.active: Tensor = source.active
        self.finished = False
        # Copies stepped in turn need not be stepped any more once their episode is over.
        self._copies = [copy for copy in getattr(source.envs.unwrapped, "envs", ()) if isinstance(copy, Replayable)]

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Take one action [B, ...] a row."""
        self.obs, reward, terminated, truncated = self._source.step(action)
        reward = torch.where(self.active, reward, 0.0)
        terminated, truncated = terminated & self.active, truncated & self.active
        ended = terminated | truncated
        if self._copies and bool(ended.any()):
            for row in ended.nonzero().flatten().tolist():
                self._copies[row].rest()
        self.active = self.active & ~ended
        self.finished = not bool(self.active.any())
        return self.obs, reward, terminated, truncated


def finished_episodes(trajectory: Trajectory) -> list[Episode]:
    """List the episodes of a rollout of one a row, with the rewards as they are."""
    columns = (trajectory.score, trajectory.mask.sum(dim=1), trajectory.terminated.any(dim=1))
    return [Episode(total, length, not terminated) for total, length, terminated in zip(*(c.tolist() for c in columns), strict=True)]


def describe_episodes(episodes: Sequence[Episode]) -> dict[str, float]:
    """Give the metrics of the episodes that ended: how many, and where there are any their returns and mean length."""
    if not episodes:
        return {"episode/count": 0.0}
    returns = [episode.episode_return for episode in episodes]
    return {
        "episode/count": float(len(episodes)),
        "episode/return_mean": sum(returns) / len(returns),
        "episode/return_max": max(returns),
        "episode/length": sum(episode.length for episode in episodes) / len(episodes),
    }
