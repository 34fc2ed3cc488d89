"""The greedy ridge follower, which learning is compared with: it steps along the brightest ray that it sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqrl.trajectory import Step


class RidgeFollower(nn.Module):
    """Of 25 rays within 60 degrees of the last step's direction it takes the brightest on average, the straightest among equals.

    It sees what a learning actor sees of `seqrl.tasks.tracking.environment.AxonTracking`: the patch at full resolution.

    Args:
        patch_size: the environment's.
        ray_px: how far it looks, at most half of the patch.

    Raises:
        ValueError: when a ray would end outside of the patch.
    """

    def __init__(self, patch_size: int = 11, ray_px: float = 4.0) -> None:
        super().__init__()
        if not 0 < ray_px <= patch_size // 2:
            raise ValueError(f"ray_px: expected more than 0 and at most half of the patch, {patch_size // 2} pixels, got {ray_px}")
        self.patch_size = patch_size
        angles = torch.deg2rad(torch.linspace(-60, 60, 25))
        angles = angles[angles.abs().argsort()]  # the straightest stands first
        self.rays = torch.stack([angles.cos(), angles.sin()], dim=-1)
        self.along = torch.linspace(0, ray_px, 2 * round(ray_px) + 1)[1:]

    def initial_state(self, context: Any) -> None:
        """Remember nothing."""

    def act(self, obs: Tensor, state: None = None, *, greedy: bool = True, generator: torch.Generator | None = None) -> Step:
        """Choose a step of the greatest length for each observation [B, 2p² + 1]."""
        side = self.patch_size
        patch = obs[:, : side**2].view(-1, 1, side, side)
        places = self.rays[:, None] * self.along[:, None] / (side // 2)  # [rays, M, 2], from -1 to 1
        bright = nn.functional.grid_sample(patch, places.expand(len(obs), -1, -1, -1), align_corners=True)[:, 0].mean(dim=2)
        # Rounding must not decide between rays that are equally bright.
        best = (bright >= bright.amax(dim=1, keepdim=True) - 1e-5).float().argmax(dim=1)
        return Step(self.rays[best], obs.new_zeros(len(obs)), obs.new_zeros(len(obs)))
