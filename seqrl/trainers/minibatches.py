"""Cuts what was collected into minibatches, in a new order in each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from seqrl.auxiliary import aux_count
from seqrl.batch_share import SharedGenerator
from seqrl.distributed import least
from seqrl.trajectory import Trajectory

MinibatchUnit = Literal["rows", "steps"]


class Minibatches:
    """Shuffles the rows of a trajectory, or the steps that count, and cuts them into parts of equal size.

    A single part is the whole in its own order, selected once.

    Args:
        trajectory: [B, T].
        number: parts; never more than any process has rows (or steps) to share out, since all take part in each optimiser step.
        unit: "rows", or "steps" for policies without memory, which become rows of one step.
        generator: shuffles; on the trajectory's device.

    Attributes:
        number: of parts.
        all_chosen: whether the policy chose every action in the parts, so that their masks need not be asked.
    """

    def __init__(self, trajectory: Trajectory, number: int, unit: MinibatchUnit, generator: torch.Generator) -> None:
        self._trajectory, self._generator = trajectory, generator
        self._places: tuple[Tensor, ...] | None = trajectory.counted.nonzero(as_tuple=True) if unit == "steps" else None
        self._size = trajectory.batch_size if self._places is None else self._places[0].shape[0]
        self.number = least(max(1, min(number, self._size)), trajectory.mask.device)
        self.all_chosen = trajectory.imitate is None and (unit == "steps" or bool(trajectory.mask.all()))
        self._whole = self._select(None) if self.number == 1 else None

    def aux_total(self, policy: nn.Module) -> Tensor | None:
        """Give what the policy's auxiliary losses of a part are divided by, so that the parts' gradients average to the whole's.

        That is the whole's `aux_count` shared out evenly: a part in which less is to be learned then weighs less. None where a part is the
        whole, or the policy does not tell.

        Args:
            policy: asked for its `aux_count`.
        """
        if self.number == 1 or not hasattr(policy, "aux_count"):
            return None
        return aux_count(policy, self._select(None)) / self.number

    def epoch(self, **columns: Tensor) -> Iterator[tuple[Trajectory, dict[str, Tensor]]]:
        """Give each part of the trajectory with the same part of some columns, [B, T] each, under their names."""
        if self._whole is not None:
            yield self._whole, {name: self._column(column, None) for name, column in columns.items()}
            return
        order, bounds = self._order()
        # All are put in order at once; the parts are views of that.
        shuffled, columns = self._select(order), {name: self._column(column, order) for name, column in columns.items()}
        for part in (slice(*pair) for pair in zip(bounds, bounds[1:], strict=False)):
            yield shuffled.select_rows(part), {name: column[part] for name, column in columns.items()}

    def _order(self) -> tuple[Tensor, list[int]]:
        """Shuffle; give the new order [size], and where in it the parts begin and end."""
        if not isinstance(self._generator, SharedGenerator):
            order = torch.randperm(self._size, generator=self._generator, device=self._trajectory.mask.device)
            return order, [part * self._size // self.number for part in range(self.number + 1)]
        if self._places is not None or self._trajectory.imitate is not None:
            raise ValueError(
                "split_batches: expected several minibatches to be cut from sampled rows alone, got steps, or demonstrations beside them; "
                "set trainer.minibatches=1, or trainer.minibatch_unit=rows and trainer.imitation.weight=0"
            )
        parts = self._generator.order(self._size, self.number)
        return torch.cat(parts), [0, *accumulate(map(len, parts))]

    def _select(self, order: Tensor | None) -> Trajectory:
        if self._places is None:
            return self._trajectory if order is None else self._trajectory.select_rows(order)
        rows, steps = self._places if order is None else (place[order] for place in self._places)
        return self._trajectory.select_steps(rows, steps, following=False)

    def _column(self, column: Tensor, order: Tensor | None) -> Tensor:
        chosen = column if self._places is None else column[self._places].unsqueeze(1)
        return chosen if order is None else chosen[order]
