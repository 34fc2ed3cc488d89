"""What was experienced, kept for learning from it again: a ring of steps for each environment, drawn evenly or by priority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqrl.sum_tree import SumTree
from seqrl.targets import n_step_transitions
from seqrl.trajectory import Trajectory, Tree, map_tree, tree_leaves

# Of the errors in a recurrent window, the share that the largest has in its priority.
LARGEST_SHARE = 0.9
SMALLEST_ERROR = 1e-6
_FIELDS = ("reward", "terminated", "truncated", "mask")


@dataclass(frozen=True)
class Drawn:
    """A minibatch from a replay: N windows of T steps, or N transitions, which are windows of one step.

    Attributes:
        trajectory: the steps. A transition's `obs` [N, 2, ...] is what was seen before it and after all its steps.
        earned: [N, T] discounted rewards until the bootstrap.
        follows: [N, T] factor of the value that follows; 0 after a termination.
        after: [N, T] long, which of the T+1 observations follows.
        weight: [N, 1] importance weights, at most 1.
        leaf: [N] where the priorities are.
    """

    trajectory: Trajectory
    earned: Tensor
    follows: Tensor
    after: Tensor
    weight: Tensor
    leaf: Tensor

    def to(self, device: torch.device | str) -> Drawn:
        """Move all but `leaf` to a device."""
        moved = {name: getattr(self, name).to(device) for name in ("trajectory", "earned", "follows", "after", "weight")}
        return Drawn(**moved, leaf=self.leaf)

    def without_first(self, steps: int, state: Tree) -> Drawn:
        """Leave out the first steps of each window, which end in the given recurrent state."""
        if steps == 0:
            return self
        part = self.trajectory
        fields = {name: map_tree(lambda leaf: leaf[:, steps:], getattr(part, name)) for name in ("action", "logp", "value", *_FIELDS)}
        obs = map_tree(lambda leaf: leaf[:, steps:], part.obs)
        later = Trajectory(obs=obs, state0=state, **fields)  # type: ignore[arg-type]
        return Drawn(later, self.earned[:, steps:], self.follows[:, steps:], self.after[:, steps:] - steps, self.weight, self.leaf)


class Replay:
    """Keeps the newest steps of rollouts that go on from each other, as `ControlTask` gives them in "steps".

    Each row of a rollout is an environment with a ring of its own. An observation is kept once, in its own type: what is
    seen after a step is what is seen before the next one, and the dummy step after an end begins with the true last
    observation. Dummy steps are never drawn. Where a rollout does not go on from the last one (after a resume of an
    environment that cannot be restored), a dummy step is put between.

    Args:
        capacity: steps kept, over all rows.
        n: steps joined into one transition at most.
        discount: γ of these steps.
        window: steps of a drawn window, for policies with memory; 0 draws single transitions.
        stored_state: draw only windows that begin with a rollout, with its recurrent state; else the state is empty.
        prioritised: draw in proportion to a power of the last error instead of evenly.
        priority_exponent: that power, α: 0 is even.
        seed: of the drawing.

    Raises:
        ValueError: when a number is out of range.

    Source: Lin 1992 (Self-improving reactive agents based on reinforcement learning, planning and teaching), experience replay;
    Mnih et al. 2015 (Human-level control through deep reinforcement learning), algorithm 1; priorities: Schaul et al. 2016
    (Prioritized experience replay), section 3.3 and algorithm 1; of windows, and their states: Kapturowski et al. 2019 (Recurrent
    experience replay in distributed reinforcement learning).
    """

    def __init__(
        self,
        capacity: int,
        *,
        n: int = 1,
        discount: float = 0.99,
        window: int = 0,
        stored_state: bool = False,
        prioritised: bool = False,
        priority_exponent: float = 0.6,
        seed: int = 0,
    ) -> None:
        if capacity < 1 or window < 0:
            raise ValueError(f"capacity, window: expected at least 1 and 0 steps, got {capacity} and {window}")
        if not 0.0 <= priority_exponent <= 1.0:
            raise ValueError(f"priority_exponent: expected a number in 0..1, got {priority_exponent}")
        self.capacity, self.n, self.discount, self.window, self.stored_state = capacity, n, discount, window, stored_state
        self.prioritised, self.priority_exponent = prioritised, priority_exponent
        self.generator = torch.Generator().manual_seed(seed)
        self._total = 0  # steps of a row since the beginning; step g lies in slot g % num_slots
        self._largest = 1.0
        self._num_stretches = 0
        self._buffers: dict[str, Tree] = {}
        self._tree: SumTree | None = None

    @property
    def num_envs(self) -> int:
        """Number of rows."""
        return self._leaf("mask").shape[0] if self._buffers else 0

    @property
    def num_steps(self) -> int:
        """Steps held, dummy ones included, over all rows."""
        return self.num_envs * (self._total - self._oldest)

    @property
    def can_draw(self) -> bool:
        """Whether there is anything to draw."""
        if not self._buffers or not self._starts()[1]:
            return False
        return bool(self._leaf("mask")[:, self._slots(self._oldest, self._total)].any())

    def clear(self) -> None:
        """Forget every step."""
        self._buffers, self._tree, self._total, self._num_stretches = {}, None, 0, 0

    def add(self, trajectory: Trajectory) -> None:
        """Keep a rollout [B, T].

        Raises:
            ValueError: when it has no observations, another number of rows than the last, or does not fit into the ring.
        """
        trajectory = trajectory.to("cpu")
        if trajectory.obs is None:
            raise ValueError("obs: expected observations [B, T+1, ...] to replay, got none")
        if not self._buffers:
            self._allocate(trajectory)
        B, T = trajectory.mask.shape
        if B != self.num_envs or self._num_slots <= T:
            raise ValueError(
                f"expected rollouts of {self.num_envs} rows and at most {self._num_slots - 1} steps, got {B} rows of {T}; "
                "raise the replay's capacity or lower task.num_steps"
            )
        if self._total and not self._goes_on(trajectory):
            self._put_dummy_step()
        start, self._total = self._total, self._total + T
        slots = self._slots(start, self._total)
        for name in ("action", "reward", "terminated", "truncated", "mask"):
            self._leaf(name)[:, slots] = getattr(trajectory, name)
        seen = self._slots(start, self._total + 1)
        map_tree(lambda kept, new: kept.index_copy_(1, seen, new), self._buffers["obs"], trajectory.obs)
        if self.stored_state:
            self._keep_state(start, trajectory.state0)
        if self._tree is not None:
            self._give_priorities(start, seen)

    def draw(self, batch_size: int, *, importance_exponent: float = 0.0) -> Drawn:
        """Draw transitions or windows, with replacement.

        w_i = (p_i / min_j p_j)^-β for priorities p: the paper's (N P(i))^-β over the largest of the minibatch.

        Args:
            batch_size: how many.
            importance_exponent: β; 1 makes up for the priorities in full.

        Raises:
            ValueError: when there is nothing to draw.
        """
        if not self.can_draw:
            raise ValueError(f"replay: expected steps to draw from, {self.num_steps} are held, of which none can be; collect more first")
        weight = torch.ones(batch_size, 1)
        if self._tree is None:
            row, step = self._draw_evenly(batch_size)
            leaf = row * self._num_slots + step % self._num_slots
        else:
            # One from each of batch_size equal parts of the total.
            share = (torch.arange(batch_size) + torch.rand(batch_size, generator=self.generator, dtype=torch.float64)) / batch_size
            leaf = self._tree.find(share.clamp(max=1 - 1e-12))
            row, slot = leaf // self._num_slots, leaf % self._num_slots
            step = self._oldest + (slot - self._oldest) % self._num_slots
            priority = self._tree.weights[leaf]
            weight = ((priority / priority.min()) ** -importance_exponent).float().unsqueeze(1)
        return self._windows(row, step, weight, leaf) if self.window else self._transitions(row, step, weight, leaf)

    def set_errors(self, drawn: Drawn, error: Tensor) -> None:
        """Set the priorities p = (|δ| + ε)^α of what was drawn; of a window, 0.9 of its largest error and 0.1 of the mean.

        Args:
            drawn: just drawn, before anything was added.
            error: [N, T] the size of the errors, those of steps that do not count being 0.
        """
        if self._tree is None:
            return
        size, mask = error.detach().abs().double().cpu(), drawn.trajectory.mask.cpu()
        mean = size.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        size = LARGEST_SHARE * size.amax(dim=1) + (1 - LARGEST_SHARE) * mean + SMALLEST_ERROR
        self._largest = max(self._largest, float(size.max()))
        # Drawn twice, a leaf has the same error twice up to rounding: one of them must be chosen the same way every time.
        leaf, first = _unique(drawn.leaf)
        self._tree.set(leaf, size[first] ** self.priority_exponent)

    def state_dict(self) -> dict[str, Any]:
        """Give a copy of everything, of the rings only what is filled."""
        filled = min(self._total + 1, self._num_slots) if self._buffers else 0
        rings = {name: tree for name, tree in self._buffers.items() if name not in ("state", "stretch")}
        whole = {name: tree for name, tree in self._buffers.items() if name in ("state", "stretch")}
        return {
            "total": self._total,
            "largest": self._largest,
            "num_stretches": self._num_stretches,
            "num_slots": self._num_slots if self._buffers else 0,
            "generator": self.generator.get_state(),
            "rings": {name: map_tree(lambda leaf: leaf[:, :filled].clone(), tree) for name, tree in rings.items()},
            "whole": {name: map_tree(torch.clone, tree) for name, tree in whole.items()},
            "priorities": None if self._tree is None else self._tree.weights.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._total, self._largest, self._num_stretches = state["total"], state["largest"], state["num_stretches"]
        self.generator.set_state(state["generator"].cpu())
        slots = state["num_slots"]

        def restored(leaf: Tensor) -> Tensor:
            ring = torch.zeros(leaf.shape[0], slots, *leaf.shape[2:], dtype=leaf.dtype)
            ring[:, : leaf.shape[1]] = leaf
            return ring

        self._buffers = {name: map_tree(restored, tree) for name, tree in state["rings"].items()}
        self._buffers |= {name: map_tree(torch.clone, tree) for name, tree in state["whole"].items()}
        self._tree = None
        if self._buffers and self.prioritised:
            self._tree = SumTree(self.num_envs * slots)
            self._tree.set(torch.arange(self._tree.size), state["priorities"])

    @property
    def _num_slots(self) -> int:
        return self._leaf("mask").shape[1]

    @property
    def _oldest(self) -> int:
        """The oldest step; one slot more than steps holds the newest observation."""
        return max(0, self._total - self._num_slots + 1) if self._buffers else 0

    def _leaf(self, name: str) -> Tensor:
        leaf = self._buffers[name]
        assert isinstance(leaf, Tensor)
        return leaf

    def _slots(self, start: int, stop: int) -> Tensor:
        return torch.arange(start, stop) % self._num_slots

    def _allocate(self, trajectory: Trajectory) -> None:
        """Make the rings for rollouts like this one; memory is taken as it is written to."""
        B, T = trajectory.mask.shape
        slots = self.capacity // B + 1

        def ring(leaf: Tensor) -> Tensor:
            return torch.zeros(B, slots, *leaf.shape[2:], dtype=leaf.dtype)

        for name in ("action", "reward", "terminated", "truncated", "mask", "obs"):
            self._buffers[name] = map_tree(ring, getattr(trajectory, name))
        if self.stored_state:
            if trajectory.state0 is None:
                raise ValueError("state0: expected a recurrent state to store, got none; use a recurrent policy or empty states")
            stretches = slots // T + 2
            self._buffers["stretch"] = torch.full((stretches,), -1)
            self._buffers["state"] = map_tree(lambda leaf: leaf.new_zeros(B, stretches, *leaf.shape[1:]), trajectory.state0)
        if self.prioritised:
            self._tree = SumTree(B * slots)

    def _goes_on(self, trajectory: Trajectory) -> bool:
        head = self._total % self._num_slots
        same = map_tree(lambda kept, new: (kept[:, head] == new[:, 0]).all(), self._buffers["obs"], trajectory.obs)
        return all(bool(leaf) for leaf in tree_leaves(same))

    def _put_dummy_step(self) -> None:
        """Cut every row after its last step; the observation that followed stays where it is."""
        last, here = (self._total - 1) % self._num_slots, self._total % self._num_slots
        truncated, terminated, mask = (self._leaf(name) for name in ("truncated", "terminated", "mask"))
        truncated[:, last] |= mask[:, last] & ~terminated[:, last]
        for name in ("action", "reward", "terminated", "truncated", "mask"):
            self._leaf(name)[:, here] = 0
        self._total += 1

    def _keep_state(self, start: int, state0: Tree) -> None:
        """Keep where a rollout began, and with what memory."""
        index = self._num_stretches % self._leaf("stretch").shape[0]
        self._leaf("stretch")[index] = start
        map_tree(lambda kept, new: kept[:, index].copy_(new), self._buffers["state"], state0)
        self._num_stretches += 1

    def _starts(self) -> tuple[int, int, Tensor | None]:
        """The first step that may be drawn, how many may be, and which, where these are not all that follow."""
        first = self._oldest
        count = max(0, self._total - max(1, self.window) + 1 - first)
        if not self.stored_state:
            return first, count, None
        stretch = self._leaf("stretch")
        stretch = stretch[(stretch >= first) & (stretch < first + count)].sort().values
        return first, stretch.shape[0], stretch

    def _draw_evenly(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Draw rows and steps; draw again where a transition would be a dummy step."""
        first, count, which = self._starts()

        def draw(number: int) -> tuple[Tensor, Tensor]:
            row = torch.randint(self.num_envs, (number,), generator=self.generator)
            step = torch.randint(count, (number,), generator=self.generator)
            return row, first + step if which is None else which[step]

        row, step = draw(batch_size)
        while not self.window:
            dummy = ~self._leaf("mask")[row, step % self._num_slots]
            if not bool(dummy.any()):
                break
            row[dummy], step[dummy] = draw(int(dummy.sum()))
        return row, step

    def _give_priorities(self, start: int, written: Tensor) -> None:
        """Give what can be drawn for the first time the largest priority, and none to what was overwritten."""
        assert self._tree is not None
        rows = torch.arange(self.num_envs).unsqueeze(1) * self._num_slots
        leaf = (rows + written).flatten()
        self._tree.set(leaf, torch.zeros(leaf.shape[0]))
        first, count, which = self._starts()
        if which is None:
            newest = first + count
            which = torch.arange(max(first, start - max(1, self.window) + 1), newest)
        else:
            which = which[which > start - self.window]
        slots = which % self._num_slots
        counts = torch.ones(self.num_envs, slots.shape[0]) if self.window else self._leaf("mask")[:, slots].float()
        self._tree.set((rows + slots).flatten(), counts.flatten() * self._largest**self.priority_exponent)

    def _transitions(self, row: Tensor, step: Tensor, weight: Tensor, leaf: Tensor) -> Drawn:
        """Join up to n steps from each start, without touching the observations between."""
        steps = step.unsqueeze(1) + torch.arange(self.n)
        newest = steps >= self._total - 1
        reward, terminated, truncated = self._gather(row, steps, "reward", "terminated", "truncated")
        # What follows the newest step is not known yet: it is a truncation for now.
        earned, follows, after = n_step_transitions(reward, terminated, truncated | (newest & ~terminated), self.discount, self.n)
        ends = torch.stack([step, step + after[:, 0]], dim=1)
        first = {name: leaf[:, None] for name, leaf in zip(("action", "mask"), self._gather(row, step, "action", "mask"), strict=True)}
        trajectory = self._trajectory(row, ends, reward=earned[:, :1], terminated=follows[:, :1] == 0, **first)
        return Drawn(trajectory, earned[:, :1], follows[:, :1], torch.ones_like(after[:, :1]), weight, leaf)

    def _windows(self, row: Tensor, step: Tensor, weight: Tensor, leaf: Tensor) -> Drawn:
        """Cut windows out of the rings."""
        steps = step.unsqueeze(1) + torch.arange(self.window + 1)
        names = ("action", "reward", "terminated", "truncated", "mask")
        columns = dict(zip(names, self._gather(row, steps[:, :-1], *names), strict=True))
        trajectory = self._trajectory(row, steps, **columns)
        if self.stored_state:
            index = (self._leaf("stretch") == step.unsqueeze(1)).int().argmax(dim=1)
            trajectory = trajectory.replace(state0=map_tree(lambda kept: kept[row, index], self._buffers["state"]))
        joined = n_step_transitions(columns["reward"], columns["terminated"], columns["truncated"], self.discount, self.n)
        return Drawn(trajectory, *joined, weight, leaf)

    def _gather(self, row: Tensor, step: Tensor, *names: str) -> list[Tensor]:
        rows = row.view(-1, *[1] * (step.ndim - 1))
        return [self._leaf(name)[rows, step % self._num_slots] for name in names]

    def _trajectory(self, row: Tensor, seen: Tensor, **columns: Tensor) -> Trajectory:
        """Put windows together with what was seen."""
        mask = columns["mask"]
        zero = torch.zeros(mask.shape[0], mask.shape[1] + 1)
        obs = map_tree(lambda kept: kept[row.unsqueeze(1), seen % self._num_slots], self._buffers["obs"])
        columns.setdefault("truncated", torch.zeros_like(mask))
        return Trajectory(logp=zero[:, 1:], value=zero, obs=obs, **columns)  # type: ignore[arg-type]


def _unique(index: Tensor) -> tuple[Tensor, Tensor]:
    """Give the different numbers of an index [N], and where each stands first."""
    different, inverse = index.unique(return_inverse=True)
    first = torch.full_like(different, index.shape[0]).scatter_reduce_(0, inverse, torch.arange(index.shape[0]), "amin")
    return different, first
