"""One batch for all processes: which of its items are this process's, and random numbers that are drawn for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqrl.distributed import gather
from seqrl.requirements import hint
from seqrl.trajectory import Tree, map_tree


class BatchShare:
    """The items of a batch that one of several processes works on: those from one place to another.

    Args:
        part: number of the process.
        parts: of processes.
        advice: of the task, see `seqrl.requirements.hint`.

    Attributes:
        items: of the whole of the last batch.
        own: where this process's stand in it.
    """

    def __init__(self, part: int, parts: int, advice: str = "") -> None:
        self.part, self.parts, self.advice = part, parts, advice
        self.items, self.own = torch.arange(0), slice(0, 0)

    def begin(self, items: Tensor) -> None:
        """Take the items [N] of the next batch.

        Raises:
            ValueError: when some process would have none.
        """
        number = items.shape[0]
        if number < self.parts:
            raise ValueError(
                f"split_batches: expected at most {number} processes, as many as items of a batch, got {self.parts}; "
                f"{self.advice}set split_batches=false, with which each has a batch of its own"
            )
        self.items = items
        self.own = slice(self.part * number // self.parts, (self.part + 1) * number // self.parts)

    def of(self, tree: Tree) -> Tree:
        """Take this process's part of something with a row for each item of the batch."""
        return map_tree(lambda leaf: leaf[self.own], tree)

    def rows_of_all(self, rows: int) -> tuple[int, slice]:
        """Give how many rows all have, and which of them are this process's, where each item has as many.

        Args:
            rows: of this process.
        """
        each = rows // (self.own.stop - self.own.start)
        return each * self.items.shape[0], slice(each * self.own.start, each * self.own.stop)


class SharedGenerator(torch.Generator):
    """A generator in the same state in all processes: each draws the numbers for all rows, and takes those of its own.

    Of a process whose rows end sooner it draws fewer; `catch_up` brings all to the state of the one that drew most.
    """

    def __init__(self, device: torch.device, share: BatchShare) -> None:  # the device is what a torch.Generator is made with
        self.share = share
        self._num_drawn, self._size = 0, 0

    def __new__(cls, device: torch.device, share: BatchShare) -> SharedGenerator:
        """Make it on a device."""
        return super().__new__(cls, device)  # type: ignore[call-arg]

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 numbers from [0, 1) for all rows; give those of this process's.

        Raises:
            ValueError: when the numbers would not be one a row.
        """
        if len(shape) != 1:
            raise ValueError("split_batches: expected draws of one number a row, got a table; set trainer.scheduled_sampling=0")
        self._size, own = self.share.rows_of_all(shape[0])
        self._num_drawn += 1
        return torch.rand(self._size, generator=self, device=self.device)[own]

    def order(self, rows: int, parts: int) -> list[Tensor]:
        """Shuffle the rows of all and cut them into parts; give which of this process's are in each.

        Args:
            rows: of this process.
            parts: number of parts.
        """
        total, own = self.share.rows_of_all(rows)
        order = torch.randperm(total, generator=self, device=self.device)
        cut = [order[number * total // parts : (number + 1) * total // parts] for number in range(parts)]
        return [part[(part >= own.start) & (part < own.stop)] - own.start for part in cut]

    def catch_up(self) -> None:
        """Come to the state of the process that drew most since the last time; every process must call it."""
        drawn = max(int(number) for number in gather(torch.tensor([self._num_drawn], device=self.device), "after a rollout"))
        for _ in range(drawn - self._num_drawn):
            torch.rand(self._size, generator=self, device=self.device)
        self._num_drawn = 0


def share_batches(trainer: Any, task: Any, part: int, parts: int, state: Any) -> SharedGenerator:
    """Let several processes divide each batch, and draw what one process would.

    Args:
        trainer: has `can_split_batches` where it draws nothing but one number a row.
        task: has `share_batches`.
        part: number of this process.
        parts: of processes.
        state: of the generator of the first one's trainer.

    Raises:
        ValueError: when one of them cannot do this.
    """
    share = BatchShare(part, parts, hint(task, "items"))
    for each, can in ((trainer, getattr(trainer, "can_split_batches", False)), (task, callable(getattr(task, "share_batches", None)))):
        if not can:
            raise ValueError(
                f"split_batches: {type(each).__name__} cannot divide a batch; expected supervised, self_critical, reinforce or ppo, and "
                "captioning or text. Set split_batches=false, with which each process has a batch of its own"
            )
    task.share_batches(share)
    generator = SharedGenerator(trainer.optimiser.device, share)
    generator.set_state(state)
    trainer.optimiser.generator = generator
    return generator
