"""A small decision process whose exact action values are known, as a task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqrl.rollout import unroll
from seqrl.trajectory import Trajectory


class ToyWorld:
    """Four states, two actions, deterministic; state 3 ends the episode, and so does the clock, which only cuts it short."""

    next_state = torch.tensor([[1, 2], [2, 0], [0, 3], [3, 3]])
    reward = torch.tensor([[0.0, 0.5], [-0.2, 0.3], [0.1, 1.0], [0.0, 0.0]])
    limit = 6

    def __init__(self, num_rows: int, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.obs = torch.randint(3, (num_rows,), generator=self.generator)
        self.active = torch.ones(num_rows, dtype=torch.bool)
        self.finished = False
        self._age = torch.zeros(num_rows, dtype=torch.long)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        live, state = self.active, self.obs
        started = torch.randint(3, state.shape, generator=self.generator)
        reward = torch.where(live, self.reward[state, action], 0.0)
        self._age = torch.where(live, self._age + 1, 0)
        self.obs = torch.where(live, self.next_state[state, action], started)
        terminated = live & (self.obs == 3)
        truncated = live & ~terminated & (self._age == self.limit)
        self.active = ~(terminated | truncated)
        return self.obs, reward, terminated, truncated


def exact_values(gamma: float, n: int = 1) -> Tensor:
    """Q of the n-step operator with chance actions in between, by iteration; for n = 1 the optimal one."""
    values = torch.zeros(4, 2)
    for _ in range(500):
        follows = values.max(dim=1).values
        for _ in range(n):
            follows[3] = 0.0
            target = ToyWorld.reward + gamma * follows[ToyWorld.next_state]
            follows = target.mean(dim=1)
        values = target
    return values[:3]


class ToyTask:
    """Rollouts of eight rows that go on from each other."""

    def __init__(self, seed: int = 0, num_steps: int = 16) -> None:
        self.world, self.num_steps, self.state = ToyWorld(8, seed), num_steps, None

    def rollout(self, policy: nn.Module, *, generator: torch.Generator | None = None, **_: Any) -> Trajectory:
        trajectory, self.state = unroll(policy, self.world, max_steps=self.num_steps, state=self.state, generator=generator)  # type: ignore[assignment]
        return trajectory
