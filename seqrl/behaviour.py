"""What lies between the policy that acts and the one that learns: weights that lag behind, and probability ratios."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.reduce import masked_mean
from seqrl.trajectory import Trajectory, map_tree


class LaggingWeights:
    """Lets a policy act with the weights that it had some updates ago, as the actors of a distributed run do.

    In the n-th rollout (from 0) the policy acts with the weights of update max(0, n - lag). Only parameters lag: what a
    policy counts in buffers while it acts (statistics of observations) stays its own.

    Args:
        policy: its parameters are exchanged while it acts, and put back.
        lag: number of updates; None for ever, so that the first weights act all the time.

    Raises:
        ValueError: when the lag is negative.
    """

    def __init__(self, policy: nn.Module, lag: int | None) -> None:
        if lag is not None and lag < 0:
            raise ValueError(f"actor_lag: expected at least 0 updates, got {lag}")
        self._policy, self._lag = policy, lag
        self._queue: list[list[Tensor]] = []  # of the last updates, oldest first

    @contextmanager
    @torch.no_grad()
    def acting(self) -> Iterator[None]:
        """Exchange the weights for the time of one rollout."""
        if self._lag == 0:
            yield
            return
        present = [parameter.clone() for parameter in self._policy.parameters()]
        if self._lag is not None or not self._queue:
            self._queue.append(present)
        if self._lag is not None:
            del self._queue[: -self._lag - 1]
        self._set(self._queue[0])
        try:
            yield
        finally:  # an environment that raises must not leave old weights to be saved
            self._set(present)

    def _set(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self._policy.parameters(), weights, strict=True):
            parameter.copy_(weight)

    def state_dict(self) -> dict[str, list[list[Tensor]]]:
        """Give the weights that are still to act."""
        return {"queue": self._queue}

    def load_state_dict(self, state: dict[str, list[list[Tensor]]]) -> None:
        """Go back to a saved state."""
        devices = [parameter.device for parameter in self._policy.parameters()]
        self._queue = [[weight.to(device) for weight, device in zip(weights, devices, strict=True)] for weights in state["queue"]]


def append_last_observation(trajectory: Trajectory) -> Trajectory:
    """Add a step that does not count, so that evaluating the trajectory also gives the value after its last step.

    Args:
        trajectory: T steps.

    Returns:
        The same with T + 1 steps. Its added action is 0.
    """

    def longer(tensor: Tensor) -> Tensor:
        return F.pad(tensor, [0, 0] * (tensor.ndim - 2) + [0, 1])

    per_step = ("action", "logp", "reward", "terminated", "truncated", "mask", "value")
    changes = {name: longer(getattr(trajectory, name)) for name in per_step}
    imitate = None if trajectory.imitate is None else longer(trajectory.imitate)
    obs = map_tree(lambda leaf: torch.cat([leaf, leaf[:, -1:]], dim=1), trajectory.obs)
    return trajectory.replace(**changes, imitate=imitate, obs=obs)


def bootstraps_at_end(trajectory: Trajectory) -> bool:
    """Tell whether the value after the last step is needed: some row's last step counts and does not terminate."""
    return bool((trajectory.mask & ~trajectory.terminated)[:, -1].any())


@torch.no_grad()
def describe_ratios(weight: Tensor, mask: Tensor) -> dict[str, float]:
    """Describe importance weights over the steps that count.

    The effective share is (Σ w)² / (N Σ w²): which share of the N steps would tell as much if all had the same weight.

    Args:
        weight: [B, T] float.
        mask: [B, T] bool.

    Source: Kong 1992 (A note on importance sampling using standardized weights).
    """
    mean, square = masked_mean(weight, mask), masked_mean(weight.square(), mask)
    return {
        "importance/mean": float(mean),
        "importance/max": float(torch.where(mask, weight, 0.0).max()),
        "importance/effective_share": float(mean.square() / square.clamp(min=1e-30)),
    }
