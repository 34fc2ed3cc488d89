"""The newest steps of rollouts that go on from each other, in a ring of slots for each environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.trajectory import Trajectory, Tree, map_tree, tree_leaves

FIELDS = ("action", "reward", "terminated", "truncated", "mask")


class StepRing:
    """Keeps steps, what was seen before each of them, and on request the recurrent state before each rollout.

    Step g, counted from the beginning, lies in slot g % num_slots. An observation is kept once, in its own type: what is seen
    after a step is what is seen before the next one, and the dummy step after an end begins with the true last observation.
    There is a slot more than steps, for the newest observation. Where a rollout does not go on from the last one (after a
    resume of an environment that cannot be restored), a dummy step is put between.

    Args:
        first: a rollout like those to come; memory is taken as it is written to.
        capacity: steps kept, over all rows.
        with_state: keep recurrent states.

    Raises:
        ValueError: when a rollout has nothing to keep.
    """

    def __init__(self, first: Trajectory, capacity: int, *, with_state: bool = False) -> None:
        if first.obs is None:
            raise ValueError("obs: expected observations [B, T+1, ...] to replay, got none")
        if with_state and first.state0 is None:
            raise ValueError("state0: expected a recurrent state to store, got none; use a recurrent policy or empty states")
        self.num_envs, num_steps = first.mask.shape
        self.num_slots = capacity // self.num_envs + 1
        self.total = 0
        self.columns = {name: self._ring(getattr(first, name)) for name in FIELDS}
        self.obs = map_tree(self._ring, first.obs)
        # Where rollouts began, and with what memory: a ring of their own.
        self.begins = torch.full((self.num_slots // num_steps + 2 if with_state else 0,), -1)
        self.state: Tree = None
        if with_state:
            self.state = map_tree(lambda leaf: leaf.new_zeros(self.num_envs, len(self.begins), *leaf.shape[1:]), first.state0)

    @property
    def oldest(self) -> int:
        """The oldest step held."""
        return max(0, self.total - self.num_slots + 1)

    def slots(self, start: int, stop: int) -> Tensor:
        """Give the slots of the steps from start to before stop."""
        return torch.arange(start, stop) % self.num_slots

    def add(self, trajectory: Trajectory) -> Tensor:
        """Keep a rollout [B, T]; give the slots that were written to, that of the newest observation included.

        Raises:
            ValueError: when it has another number of rows than the first, or does not fit into the ring.
        """
        B, T = trajectory.mask.shape
        if B != self.num_envs or self.num_slots <= T:
            raise ValueError(
                f"expected rollouts of {self.num_envs} rows and at most {self.num_slots - 1} steps, got {B} rows of {T}; "
                "raise the replay's capacity or lower the number of steps that the task collects (num_steps)"
            )
        first = self.total
        if self.total and not self._goes_on(trajectory):
            self._put_dummy_step()
        start, self.total = self.total, self.total + T
        slots, seen = self.slots(start, self.total), self.slots(start, self.total + 1)
        for name, column in self.columns.items():
            column[:, slots] = getattr(trajectory, name)
        map_tree(lambda kept, new: kept.index_copy_(1, seen, new), self.obs, trajectory.obs)
        if self.state is not None:
            # The next place is that of the oldest begin, or one that is empty.
            index = int(self.begins.argmin())
            self.begins[index] = start
            map_tree(lambda kept, new: kept[:, index].copy_(new), self.state, trajectory.state0)
        return self.slots(first, self.total + 1)

    def read(self, row: Tensor, step: Tensor, *names: str) -> list[Tensor]:
        """Give columns at rows [N] and steps [N] or [N, T]."""
        rows, slots = row.view(-1, *[1] * (step.ndim - 1)), step % self.num_slots
        return [self.columns[name][rows, slots] for name in names]

    def read_obs(self, row: Tensor, step: Tensor) -> Tree:
        """Give what was seen in rows [N] before steps [N, T]."""
        rows, slots = row.unsqueeze(1), step % self.num_slots
        return map_tree(lambda kept: kept[rows, slots], self.obs)

    def read_state(self, row: Tensor, step: Tensor) -> Tree:
        """Give the memory in rows [N] before steps [N], each the first of a rollout."""
        index = (self.begins == step.unsqueeze(1)).int().argmax(dim=1)
        return map_tree(lambda kept: kept[row, index], self.state)

    def state_dict(self) -> dict[str, Any]:
        """Give a copy of everything, of the rings only what is filled."""
        filled = min(self.total + 1, self.num_slots)
        return {
            "total": self.total,
            "num_slots": self.num_slots,
            "columns": {name: column[:, :filled].clone() for name, column in self.columns.items()},
            "obs": map_tree(lambda leaf: leaf[:, :filled].clone(), self.obs),
            "begins": self.begins.clone(),
            "state": map_tree(torch.clone, self.state),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> StepRing:
        """Make a ring as it was saved."""
        ring = cls.__new__(cls)
        ring.total, ring.num_slots = state["total"], state["num_slots"]
        ring.num_envs = state["columns"]["mask"].shape[0]

        def restored(leaf: Tensor) -> Tensor:
            whole = ring._ring(leaf)
            whole[:, : leaf.shape[1]] = leaf
            return whole

        ring.columns = {name: restored(column) for name, column in state["columns"].items()}
        ring.obs = map_tree(restored, state["obs"])
        ring.begins, ring.state = state["begins"].clone(), map_tree(torch.clone, state["state"])
        return ring

    def _ring(self, leaf: Tensor) -> Tensor:
        return torch.zeros(self.num_envs, self.num_slots, *leaf.shape[2:], dtype=leaf.dtype)

    def _goes_on(self, trajectory: Trajectory) -> bool:
        head = self.total % self.num_slots
        same = map_tree(lambda kept, new: (kept[:, head] == new[:, 0]).all(), self.obs, trajectory.obs)
        return all(bool(leaf) for leaf in tree_leaves(same))

    def _put_dummy_step(self) -> None:
        """Cut every row after its last step; the observation that followed stays where it is."""
        last, here = (self.total - 1) % self.num_slots, self.total % self.num_slots
        self.columns["truncated"][:, last] |= self.columns["mask"][:, last] & ~self.columns["terminated"][:, last]
        for column in self.columns.values():
            column[:, here] = 0
        self.total += 1
