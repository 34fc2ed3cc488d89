"""What a policy that writes looks at: encoded once for each item, however many rows are about it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seqrl.policies.tokens import distinct_rows
from seqrl.trajectory import Trajectory, Tree, map_tree


def context_of(policy: nn.Module, inputs: Tree) -> dict[str, Tree]:
    """Give what a policy writes about, leaves [B, ...], as its context, on its device."""
    device = next(policy.parameters()).device
    return {"image": map_tree(lambda leaf: leaf.to(device), inputs)}


def memory_of(policy: Any, context: Tree) -> Any:
    """Give the encoded images [B, ...] of a context: its `memory` where it has one, else its encoded `image`.

    Args:
        policy: has `encode(images)`.
        context: a mapping with `image`, uint8 [B, 3, S, S], or `memory`, what `encode` gave.

    Raises:
        ValueError: when the context has neither.
    """
    if isinstance(context, dict) and "memory" in context:
        return context["memory"]
    if isinstance(context, dict) and "image" in context:
        return policy.encode(context["image"])
    found = sorted(context) if isinstance(context, dict) else type(context).__name__
    raise ValueError(f'context: expected a mapping with "image" or "memory", got {found}')


def distinct_memory_of(policy: Any, trajectory: Trajectory) -> tuple[Any, Tensor | None]:
    """Give the encoded images [N, ...] of a trajectory's distinct groups, and [B] the place of each row's image among them.

    The second is None where every row has an image of its own.
    """
    context, group = trajectory.context, trajectory.group
    if group is None:
        return memory_of(policy, context), None
    first, inverse = distinct_rows(group)
    if first.shape[0] == group.shape[0]:
        return memory_of(policy, context), None
    return memory_of(policy, map_tree(lambda leaf: leaf[first], context)), inverse
