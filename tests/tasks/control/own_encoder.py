"""An encoder as a user may write it."""

from __future__ import annotations

import torch
from gymnasium.spaces import Box

from seqrl.tasks.control.policy import ControlPolicyConfig


class Halves(torch.nn.Module):
    """Features of what is seen: each half's sum, times weights of its own."""

    def __init__(self, config: ControlPolicyConfig, space: Box, generator: torch.Generator | None) -> None:
        super().__init__()
        self.num_outputs = 2
        self.weight = torch.nn.Parameter(torch.rand(2, generator=generator))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return seen.float().unflatten(-1, (2, -1)).sum(dim=-1) * self.weight
