"""Whole episodes: each row from a reset to its first end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from seqrl.rollout import play
from seqrl.sources import Episode, VectorEnvSource
from seqrl.tasks.control.replayable import Replayable
from seqrl.tasks.control.watchdog import watched
from seqrl.trajectory import Trajectory, Tree

LARGEST_BATCH = 100  # episodes that are played side by side
# Name in an environment's metadata: which numbers of its info tell how the episode has gone so far; evaluations average the last ones.
EPISODE_METRICS = "episode_metrics"


class EpisodeSource:
    """Plays one episode in each row; what a row does after its end neither counts nor earns.

    Args:
        source: its environments are reset.
        seed: of the reset; the same seed gives the same start states.

    Attributes:
        metrics: [B] by name, what the environment's `EPISODE_METRICS` were at each row's end; 0 before.
    """

    def __init__(self, source: VectorEnvSource, *, seed: int) -> None:
        source.reset(seed)
        source.pop_episodes()
        self._source = source
        self.obs: Tree = source.obs
        self.active: Tensor = source.active
        self.finished = False
        names = (getattr(source.envs, "metadata", None) or {}).get(EPISODE_METRICS, ())
        self.metrics = {name: torch.zeros(self.active.shape, dtype=torch.float64) for name in names}
        # Copies stepped in turn need not be stepped any more once their episode is over.
        self._copies = [copy for copy in getattr(source.envs.unwrapped, "envs", ()) if isinstance(copy, Replayable)]

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Take one action [B, ...] a row."""
        self.obs, reward, terminated, truncated = self._source.step(action)
        reward = torch.where(self.active, reward, 0.0)
        terminated, truncated = terminated & self.active, truncated & self.active
        ended = terminated | truncated
        for name, at_end in self.metrics.items():
            at_end[ended] = torch.as_tensor(self._source.info[name], dtype=torch.float64)[ended]
        if self._copies and bool(ended.any()):
            for row in ended.nonzero().flatten().tolist():
                self._copies[row].rest()
        self.active = self.active & ~ended
        self.finished = not bool(self.active.any())
        return self.obs, reward, terminated, truncated


def play_episodes(
    policy: nn.Module, make: Callable[[int], VectorEnvSource], *, count: int, seed: int, max_steps: int, timeout_s: float
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Play greedy episodes; see `seqrl.rollout.play`.

    Args:
        policy: acts without gradients.
        make: gives a source of a number of rows.
        count: of episodes.
        seed: of their start states.
        max_steps: where an episode is given up.
        timeout_s: see `watched`.

    Returns:
        ([count] float64 undiscounted return, [count] long number of steps, means of the environment's `EPISODE_METRICS`).
    """
    results, metrics = [], []
    for start in range(0, count, LARGEST_BATCH):
        source = make(min(LARGEST_BATCH, count - start))
        with watched(source, timeout_s):
            episodes = EpisodeSource(source, seed=seed + start)
            results.append(play(policy, episodes, max_steps=max_steps))
            metrics.append(episodes.metrics)
    total, length = (torch.cat(column) for column in zip(*results, strict=True))
    return total, length, {name: float(torch.cat([part[name] for part in metrics]).mean()) for name in metrics[0]}


def describe_returns(total: Tensor, length: Tensor) -> dict[str, float]:
    """Give the metrics of an evaluation from its episodes' returns and numbers of steps, [N] each."""
    returns = {"return_mean": total.mean(), "return_min": total.min(), "return_max": total.max()}
    return {name: float(value) for name, value in returns.items()} | {"length": float(length.double().mean())}


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
