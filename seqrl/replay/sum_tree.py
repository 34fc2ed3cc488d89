"""Drawing in proportion to weights that change: a tree in which each node holds the sum of its children."""

from __future__ import annotations

import torch
from torch import Tensor

FAN_OUT = 32


class SumTree:
    """Holds weights and draws indices with probability weight / total, both in time logarithmic in their number.

    A node has 32 children rather than 2: a million weights are then four levels deep, and each level is a handful of tensor
    operations for the whole minibatch. Sums are always taken anew from the children, so that rounding does not pile up.

    Args:
        size: number of weights, all 0 at first.

    Raises:
        ValueError: when there is no weight.

    Source: Schaul et al. 2016 (Prioritized experience replay), appendix B.2.1, with two children.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size: expected at least 1 weight, got {size}")
        self.size = size
        levels = []
        while True:
            groups = -(-size // FAN_OUT)
            levels.append(torch.zeros(groups, FAN_OUT, dtype=torch.float64))
            if groups == 1:
                break
            size = groups
        self._levels = levels

    @property
    def weights(self) -> Tensor:
        """[size] float64, all weights."""
        return self._levels[0].view(-1)[: self.size]

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._levels[-1].sum())

    def set(self, index: Tensor, weight: Tensor) -> None:
        """Change some weights.

        Args:
            index: [N] long; where one stands twice, its weights must agree.
            weight: [N] float, not negative.
        """
        self._levels[0].view(-1)[index] = weight.double()
        for below, above in zip(self._levels[:-1], self._levels[1:], strict=True):
            index = index // FAN_OUT
            above.view(-1)[index] = below[index].sum(dim=1)

    def find(self, share: Tensor) -> Tensor:
        """Give the index at which the running sum of the weights, over their total, passes each share.

        Args:
            share: [N] in 0..1, 1 excluded.

        Returns:
            [N] long; never the index of a weight of 0.

        Raises:
            ValueError: when all weights are 0.
        """
        group = torch.zeros_like(share, dtype=torch.long)
        target = share.double()
        for depth, level in enumerate(reversed(self._levels)):
            running = level[group].cumsum(dim=1)
            last = running[:, -1]
            if depth == 0:
                if self.total <= 0:
                    raise ValueError("every weight is 0; set some before drawing")
                target = target * last
            # Below the last sum, which rounding may have made smaller than its parent says.
            target = torch.minimum(target, last * (1 - 1e-15))
            child = (running <= target.unsqueeze(1)).sum(dim=1)
            before = torch.where(child > 0, running.gather(1, (child - 1).clamp(min=0).unsqueeze(1)).squeeze(1), 0.0)
            target = (target - before).clamp(min=0)
            group = group * FAN_OUT + child
        return group
