"""The other player of a game of two: what it does, and whether that is allowed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from seqrl.protocols import Policy
from seqrl.trajectory import Tree, map_tree


def refuse_illegal(action: Any, legal: Tensor, whose: str) -> Tensor:
    """Give actions that were chosen, unless one is none of the allowed ones.

    Args:
        action: [B] numbers.
        legal: [B, N] bool, True where an action is allowed.
        whose: who chose them, for the message.

    Raises:
        ValueError: naming the first that is not allowed.
    """
    count, size = legal.shape
    if not isinstance(action, Tensor) or action.shape != (count,) or action.is_floating_point() or action.dtype == torch.bool:
        came = f"{action.dtype} of shape {list(action.shape)}" if isinstance(action, Tensor) else f"a {type(action).__name__}"
        raise ValueError(f"{whose}: expected a whole number for each of {count} games, got {came}; mend its `act`")
    inside = (action >= 0) & (action < size)
    allowed = inside & legal.gather(1, action.clamp(0, size - 1).unsqueeze(1)).squeeze(1)
    if not bool(allowed.all()):
        game = int((~allowed).nonzero()[0])
        rule = f"0 to {size - 1}" if bool(legal[game].all()) else f"one of {', '.join(map(str, legal[game].nonzero()[:, 0].tolist()))}"
        raise ValueError(f"{whose}: chose {int(action[game])} in game {game}, which is illegal; expected {rule}")
    return action


@torch.no_grad()
def opponents_action(opponent: nn.Module, obs: Tree, legal: Tensor, generator: torch.Generator | None, *, greedy: bool = False) -> Tensor:
    """Let an opponent without memory choose in each game, [B].

    Args:
        opponent: a policy of the same game, on any device.
        obs: what it sees, leaves [B, ...].
        legal: [B, N] bool.
        generator: draws its actions.
        greedy: take the most probable ones.

    Raises:
        ValueError: when an action is illegal.
    """
    device = next(opponent.parameters(), torch.zeros(0)).device
    step = cast(Policy, opponent).act(map_tree(lambda leaf: leaf.to(device), obs), None, greedy=greedy, generator=generator)
    action = step.action.to(legal.device) if isinstance(step.action, Tensor) else step.action
    return refuse_illegal(action, legal, "the opponent")
