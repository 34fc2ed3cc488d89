"""Keeps what does not count from breaking what does: NaN times a gradient of 0 is NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from seqrl.trees import Tree, map_tree, tree_leaves

FEW_NUMBERS = 20_000
_STEPS, _SEEN, _ROWS = ("action", "logp", "reward"), ("value", "obs"), ("context", "baseline", "state0")
PADDED = {*_STEPS, *_SEEN, *_ROWS}


def silenced_padding(fields: Mapping[str, Tree], counted: Tensor, terminated: Tensor) -> dict[str, Tree]:
    """Set to 0 what is not finite and does not count in some of the fields `PADDED` of a trajectory.

    A step counts where `counted` is True, a row where one of its steps does. What is seen before a step, and its value, also count where
    the step before counts and does not terminate, since returns bootstrap there, and after the last step of a row whose last step counts,
    which a policy may read. Numbers that are not finite and do count stay, to be refused where they are used.

    Args:
        fields: by name.
        counted: [B, T] bool.
        terminated: [B, T] bool.
    """
    leads = counted & ~terminated
    seen = torch.cat([counted, counted[:, -1:]], dim=1)
    seen[:, 1:-1] |= leads[:, :-1]
    places = dict.fromkeys(_STEPS, counted) | dict.fromkeys(_SEEN, seen) | dict.fromkeys(_ROWS, counted.any(dim=1))
    with torch.no_grad():
        return {name: map_tree(partial(_silenced, places[name]), tree) for name, tree in fields.items()}


@torch.no_grad()
def silenced_end(obs: Tree, terminated: Tensor) -> Tree:
    """Set to 0 what is not finite of what is seen after a last step that terminates, for who evaluates it although nothing follows.

    Args:
        obs: leaves [B, T+1, ...].
        terminated: [B, T] bool.
    """

    def silenced(leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point() or math.isfinite(leaf[:, -1].sum()):
            return leaf
        return torch.cat([leaf[:, :-1], _silenced(~terminated[:, -1], leaf[:, -1]).unsqueeze(1)], dim=1)

    return map_tree(silenced, obs)


def all_finite(trees: Iterable[Tree]) -> bool:
    """Say whether all numbers are finite, or rather whether their sum is, which takes a tenth of the time of looking at each."""
    leaves = [leaf for tree in trees for leaf in tree_leaves(tree) if leaf.is_floating_point()]
    few = [leaf for leaf in leaves if leaf.numel() <= FEW_NUMBERS and leaf.device == leaves[0].device]
    many = [leaf for leaf in leaves if leaf.numel() > FEW_NUMBERS or leaf.device != leaves[0].device]
    # For few numbers a call costs more than its work: one copy and one sum.
    joined = [torch._C._nn.flatten_dense_tensors(few)] if few else []
    return all(_is_finite(leaf.detach()) for leaf in (*joined, *many))


def _is_finite(leaf: Tensor) -> bool:
    if leaf.dtype != torch.float16:
        return math.isfinite(leaf.sum())
    # The sum of many numbers of 16 bits is infinite although none of them is; their extremes take as long as their sum.
    return not leaf.numel() or all(math.isfinite(extreme) for extreme in leaf.aminmax())


def _silenced(counts: Tensor, leaf: Tensor) -> Tensor:
    """Set to 0 what is not finite, where the leading dimensions do not count."""
    if not leaf.is_floating_point():
        return leaf
    broken = ~leaf.isfinite() & ~counts.to(leaf.device).view(*counts.shape, *[1] * (leaf.ndim - counts.ndim))
    return leaf.masked_fill(broken, 0.0) if bool(broken.any()) else leaf
