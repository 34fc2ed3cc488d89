"""Trees of tensors: what is seen, remembered or conditioned on, as one tensor or several by name or place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor

Tree: TypeAlias = "Tensor | Mapping[str, Tree] | tuple[Tree, ...] | None"


def map_tree(function: Callable[..., Tensor], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to each leaf of `tree` (and the same leaf of every tree in `others`).

    Args:
        function: takes one tensor per tree, gives a tensor.
        tree: a tensor, a mapping or tuple of trees, or None.
        others: trees of the same structure.

    Raises:
        TypeError: when a leaf is something else.
    """
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, Mapping):
        return {key: map_tree(function, leaf, *(other[key] for other in others)) for key, leaf in tree.items()}  # type: ignore[index, call-overload]
    if isinstance(tree, tuple):
        return tuple(map_tree(function, *leaves) for leaves in zip(tree, *others, strict=True))  # type: ignore[arg-type]
    raise TypeError(f"expected a tree of tensors, mappings and tuples, got a {type(tree).__name__}; convert it first")


def tree_leaves(tree: Tree) -> list[Tensor]:
    """List the tensors of a tree in their order."""
    leaves: list[Tensor] = []
    map_tree(lambda leaf: leaves.append(leaf) or leaf, tree)  # type: ignore[func-returns-value]
    return leaves
