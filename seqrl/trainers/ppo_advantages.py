"""What weighs PPO's probability ratios: generalised advantages from a critic, or whole rows compared with each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seqrl.functional import returns
from seqrl.functional.row_advantages import row_advantage
from seqrl.trajectory import Trajectory

Advantage = Literal["gae", "leave_one_out", "group_norm", "group_mean", "greedy"]


def estimate(trajectory: Trajectory, method: Advantage, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Give the advantages and the critic's targets, [B, T] each.

    Args:
        trajectory: B rows of T steps; of one episode each unless the method is "gae".
        method: "gae", or how rows are compared, see `seqrl.functional.row_advantages`; all steps of a row then share its advantage.
        gamma: discount γ; read by "gae" only.
        gae_lambda: lambda; read by "gae" only.

    Raises:
        ValueError: when rows are to be compared and one goes on after an end, or a group has a single row.
    """
    if method == "gae":
        value, ends = trajectory.value, (trajectory.terminated, trajectory.truncated)
        advantage = returns.gae(trajectory.reward, value, *ends, gamma, gae_lambda)
        return advantage, advantage + value[:, :-1]
    row = row_advantage(method, trajectory, trajectory.score, setting="advantage", instead="trainer.advantage=gae, with a critic")
    return row.unsqueeze(1).expand_as(trajectory.reward), torch.zeros_like(trajectory.reward)


@torch.no_grad()
def revalued(trajectory: Trajectory, policy: nn.Module) -> Trajectory:
    """Estimate the values anew, except for that after the last step."""
    return trajectory.replace(value=torch.cat([policy(trajectory).value, trajectory.value[:, -1:]], dim=1))
