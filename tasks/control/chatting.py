"""Lets a policy act in a dialog with somebody, where no environment steps."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from seqrl.policies.tokens import evaluation_mode


class Acting:
    """Chooses a policy's most probable acts, one dialog at a time.

    Args:
        policy: see `seqrl.protocols.Policy`.
        masked: whether it is shown the mask of what makes sense.
    """

    def __init__(self, policy: nn.Module, *, masked: bool) -> None:
        self._policy, self._masked = policy, masked
        self.begin()

    def begin(self) -> None:
        """Forget the dialog before."""
        self._state = self._policy.initial_state(None)  # type: ignore[operator]

    @torch.no_grad()
    def choose(self, seen: NDArray[Any], allowed: NDArray[Any]) -> int:
        """Choose an act by what is seen [1, F] and what makes sense [1, A]."""
        shown = torch.from_numpy(seen)
        obs = {"observation": shown, "action_mask": torch.from_numpy(allowed)} if self._masked else shown
        with evaluation_mode(self._policy):
            step = self._policy.act(obs, self._state, greedy=True)  # type: ignore[operator]
        self._state = step.state
        return int(step.action[0])
