"""The numbers of a categorical distribution with their slopes written out, for who needs them without autograd's graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_LOGP = -1e6  # instead of -inf, whose product with a probability of 0 is not a number


class CategoricalNumbers(NamedTuple):
    """What a categorical distribution says of actions, and what its slopes take.

    Attributes:
        chosen: [...] log-probability of each action, nats.
        entropy: [...] nats.
        logp: [..., N] log-probabilities of all actions, finite.
        probability: [..., N].
        action: [..., 1] the actions.
    """

    chosen: Tensor
    entropy: Tensor
    logp: Tensor
    probability: Tensor
    action: Tensor


def categorical_numbers(logits: Tensor, action: Tensor) -> CategoricalNumbers:
    """Give log p(a) and H = -Σ p log p of softmax(logits), for logits [..., N] and actions [...]."""
    logp = logits.log_softmax(dim=-1)
    probability, action = logp.exp(), action.unsqueeze(-1)
    chosen = logp.gather(-1, action).squeeze(-1)
    logp = logp.clamp_(min=SMALLEST_LOGP)
    return CategoricalNumbers(chosen, (probability * logp).sum(dim=-1).neg_(), logp, probability, action)


def categorical_slope(numbers: CategoricalNumbers, for_chosen: Tensor | None, for_entropy: Tensor | None) -> Tensor:
    """Give the slope by the logits, [..., N], from those by log p(a) and H: d log p(a) / dl = 1(a) - p,  dH / dl = -p (log p + H)."""
    found = torch.zeros_like(numbers.logp)
    if for_chosen is not None:
        for_chosen = for_chosen.unsqueeze(-1)
        found = (numbers.probability * for_chosen).neg_().scatter_add_(-1, numbers.action, for_chosen)
    if for_entropy is not None:
        found.sub_((numbers.logp + numbers.entropy.unsqueeze(-1)).mul_(numbers.probability).mul_(for_entropy.unsqueeze(-1)))
    return found
