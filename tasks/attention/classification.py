"""When the classes of an image's objects are read, and what a classifier loses by wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.functional.reductions import masked_mean


def read_steps(num_glimpses: int, num_objects: int) -> list[int]:
    """Say after which glimpses, numbered from 0, a class is read: the k-th one after the k-th part of them."""
    return [num_glimpses * (index + 1) // num_objects - 1 for index in range(num_objects)]


def object_of_step(num_glimpses: int, num_objects: int) -> list[int]:
    """Say which object each glimpse is for."""
    reads = read_steps(num_glimpses, num_objects)
    return [next(index for index, read in enumerate(reads) if step <= read) for step in range(num_glimpses)]


def classification_loss(classify: Callable[[Tensor], Tensor], hidden: Tensor, last: Tensor, label: Tensor, early: float) -> Tensor:
    """Average the cross-entropy of the classes over rows and objects, and over earlier glimpses where they count.

    (1 - e) mean over the glimpses after which a class is read + e mean over the others, of -log p(class of the glimpse's object)

    Args:
        classify: gives logits [..., C] from states [..., H].
        hidden: [N, B, H] the states after each glimpse.
        last: [B, H] the last of them, which has a way for its gradient of its own.
        label: [B, K] long.
        early: e, in 0..1.

    Source: several objects: Ba et al. 2015 (Multiple object recognition with visual attention), section 3.
    """
    num_glimpses, num_objects = hidden.shape[0], label.shape[1]
    reads = read_steps(num_glimpses, num_objects)
    states = hidden if early else last.unsqueeze(0) if num_objects == 1 else hidden[reads]
    classes = label.t()[object_of_step(num_glimpses, num_objects)] if early else label.t()
    wrong = F.cross_entropy(classify(states).flatten(0, 1), classes.flatten(), reduction="none").view(classes.shape)
    if not early:
        return masked_mean(wrong, None)
    is_read = torch.zeros_like(wrong, dtype=torch.bool)
    is_read[reads] = True
    return (1 - early) * masked_mean(wrong, is_read) + early * masked_mean(wrong, ~is_read)
