"""Rollouts of some steps each, in environments that go on across them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seqrl.rollout import unroll
from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.environments import environment_state, set_environment_state
from seqrl.tasks.control.watchdog import watched
from seqrl.trajectory import Trajectory, Tree, map_tree


class Stretches:
    """Goes on where the last rollout stopped, in the environments and in the policy's memory.

    Args:
        source: the environments.
        timeout_s: see `watched`.
        begin_anew: starts new episodes in all environments.
    """

    def __init__(self, source: VectorEnvSource, *, timeout_s: float, begin_anew: Callable[[], None]) -> None:
        self._source, self._timeout_s, self._begin_anew = source, timeout_s, begin_anew
        self._memory: Tree = None
        self._lost = False

    def roll(self, policy: nn.Module, num_steps: int, *, greedy: bool, generator: torch.Generator | None) -> Trajectory:
        """Let the policy act for some steps; see `seqrl.rollout.unroll`."""
        source, lost = self._source, self._lost
        # An environment that fails leaves its rows at different steps, which nothing can go on from.
        self._lost = True
        with watched(source, self._timeout_s):
            if lost:
                self._begin_anew()
                self._memory = None
            trajectory, self._memory = unroll(policy, source, max_steps=num_steps, state=self._memory, greedy=greedy, generator=generator)
        self._lost = False
        return trajectory

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next rollout depends on; None for the environments that cannot tell it, or that failed."""
        environment = None if self._lost else environment_state(self._source.envs)
        memory = map_tree(lambda leaf: leaf.cpu(), self._memory)
        return {"environment": environment, "source": self._source.state_dict(), "memory": memory}

    def load_state_dict(self, state: dict[str, Any], name: str) -> None:
        """Go back to a saved state; warn where the environments `name` cannot, and start new episodes."""
        self._lost, self._memory = False, None
        if state["environment"] is not None and set_environment_state(self._source.envs, state["environment"]):
            self._source.load_state_dict(state["source"])
            self._memory = map_tree(torch.clone, state["memory"])
            return
        reason = "did not keep its state" if state["environment"] is None else "shows something else after the same seed and actions"
        warnings.warn(
            f"environment {name} {reason}: its episodes start anew, so this run differs from one that was not resumed", stacklevel=3
        )
        self._begin_anew()
