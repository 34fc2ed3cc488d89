"""Lets a policy act in a dialog with somebody, where no environment steps."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from seqrl.policies.tokens import evaluation_mode
from seqrl.protocols import Conversation


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


def open_conversation(factory: Any, policy: nn.Module, *, masked: bool, frame_stack: int, **settings: Any) -> Conversation:
    """Let somebody talk to a policy in an environment that is a dialog; see `seqrl.protocols.Task`.

    Args:
        factory: of the environment; has `conversation` where it is a dialog.
        policy: chooses what the system says.
        masked: whether it is shown the mask of what makes sense.
        frame_stack: turns that it sees at once.
        settings: passed on, `seed`, `mishear` and `voice`.

    Raises:
        ValueError: when there is nobody to talk to, or the policy sees several turns at once.
    """
    converse = getattr(factory, "conversation", None)
    if converse is None or frame_stack > 1:
        raise ValueError(f"environment {factory.name}: expected one to talk to, with task.frame_stack=1; seqrl/RestaurantDialog-v0 is")
    return converse(Acting(policy, masked=masked), **{"seed": 0, "mishear": False, "voice": None} | settings)  # type: ignore[no-any-return]
