"""What was experienced, kept for learning from it again: drawn evenly or by priority, as transitions or as windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqrl.functional.targets import n_step_transitions
from seqrl.padding import silenced_end
from seqrl.replay.step_ring import FIELDS, StepRing
from seqrl.replay.sum_tree import SumTree
from seqrl.trajectory import Trajectory, Tree, map_tree

# Of the errors in a recurrent window, the share that the largest has in its priority.
LARGEST_SHARE = 0.9
SMALLEST_ERROR = 1e-6


@dataclass(frozen=True)
class ReplaySample:
    """A minibatch from a replay: N windows of T steps, or N transitions, which are windows of one step.

    Attributes:
        trajectory: the steps. A transition's `obs` [N, 2, ...] is what was seen before it and after all its steps.
        n_step_return: [N, T] discounted rewards until the bootstrap.
        bootstrap_discount: [N, T] factor of the value that follows; 0 after a termination.
        bootstrap_index: [N, T] long, which of the T+1 observations follows.
        weight: [N, 1] importance weights, at most 1.
        leaf: [N] where the priorities are.
    """

    trajectory: Trajectory
    n_step_return: Tensor
    bootstrap_discount: Tensor
    bootstrap_index: Tensor
    weight: Tensor
    leaf: Tensor

    def to(self, device: torch.device | str) -> ReplaySample:
        """Move everything to a device."""
        same = torch.device(device) == self.weight.device
        return self if same else ReplaySample(*(getattr(self, field.name).to(device) for field in fields(self)))

    def without_first(self, steps: int, state: Tree) -> ReplaySample:
        """Leave out the first steps of each window, which end in the given recurrent state."""
        if steps == 0:
            return self
        part = self.trajectory
        fields = {name: map_tree(lambda leaf: leaf[:, steps:], getattr(part, name)) for name in ("logp", "value", *FIELDS)}
        obs = map_tree(lambda leaf: leaf[:, steps:], part.obs)
        later = Trajectory.of_known({**fields, "obs": obs, "state0": state})
        n_step_return, gamma = self.n_step_return[:, steps:], self.bootstrap_discount[:, steps:]
        return ReplaySample(later, n_step_return, gamma, self.bootstrap_index[:, steps:] - steps, self.weight, self.leaf)


class Replay:
    """Keeps the newest steps of rollouts that go on from each other, as `EnvTask` gives them in "steps", and draws from them.

    Dummy steps, which have `mask` False, are never drawn as transitions. Where `present` is set, it brings the rewards that are drawn
    into the unit of the moment, see `raw_rewards` of `seqrl.protocols.Task`.

    Args:
        capacity: steps kept, over all rows.
        n: steps joined into one transition at most.
        gamma: discount γ of these steps.
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
        gamma: float = 0.99,
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
        self.capacity, self.n, self.gamma, self.window, self.stored_state = capacity, n, gamma, window, stored_state
        self.prioritised, self.priority_exponent = prioritised, priority_exponent
        self.generator = torch.Generator().manual_seed(seed)
        self.present: Callable[[Tensor], Tensor] | None = None
        self._largest = 1.0
        self._any_chosen = False
        self._ring: StepRing | None = None
        self._tree: SumTree | None = None

    @property
    def num_steps(self) -> int:
        """Steps held, dummy ones included, over all rows."""
        return 0 if self._ring is None else self._ring.num_envs * (self._ring.total - self._ring.oldest)

    @property
    def can_draw(self) -> bool:
        """Whether there is anything to draw."""
        return self._ring is not None and self._any_chosen and self._starts(self._ring)[1] > 0

    def clear(self) -> None:
        """Forget every step."""
        self._ring, self._tree, self._any_chosen = None, None, False

    def add(self, trajectory: Trajectory) -> None:
        """Keep a rollout [B, T].

        Raises:
            ValueError: when it has no observations, another number of rows than the last, or it or a window does not fit into the ring.
        """
        trajectory = trajectory.to("cpu")
        # A transition's value there is weighed by 0, which would not help against a NaN.
        trajectory = trajectory.replace(obs=silenced_end(trajectory.obs, trajectory.terminated))
        if self._ring is None:
            self._ring = StepRing(trajectory, self.capacity, with_state=self.stored_state)
            self._tree = SumTree(self._ring.num_envs * self._ring.num_slots) if self.prioritised else None
            if self.window >= self._ring.num_slots:
                raise ValueError(
                    f"expected windows of at most {self._ring.num_slots - 1} steps, got {self.window}; raise the replay's capacity"
                )
        self._any_chosen = self._any_chosen or bool(trajectory.mask.any())
        before = self._ring.total
        written = self._ring.add(trajectory)
        if self._tree is not None:
            self._give_priorities(self._ring, self._tree, before, written)

    def draw(self, batch_size: int, *, importance_exponent: float = 0.0) -> ReplaySample:
        """Draw transitions or windows, with replacement.

        w_i = (p_i / min_j p_j)^-β for priorities p: the paper's (N P(i))^-β over the largest of the minibatch.

        Args:
            batch_size: how many.
            importance_exponent: β; 1 makes up for the priorities in full.

        Raises:
            ValueError: when there is nothing to draw.
        """
        ring = self._ring
        if ring is None or not self.can_draw:
            raise ValueError(f"replay: expected steps to draw from, {self.num_steps} are held, of which none can be; collect more first")
        weight = torch.ones(batch_size, 1)
        if self._tree is None:
            row, step = self._draw_evenly(ring, batch_size)
            leaf = row * ring.num_slots + step % ring.num_slots
        else:
            # One from each of batch_size equal parts of the total.
            share = (torch.arange(batch_size) + torch.rand(batch_size, generator=self.generator, dtype=torch.float64)) / batch_size
            leaf = self._tree.find(share)
            row, slot = leaf // ring.num_slots, leaf % ring.num_slots
            step = ring.oldest + (slot - ring.oldest) % ring.num_slots
            priority = self._tree.weights[leaf]
            weight = ((priority / priority.min()) ** -importance_exponent).float().unsqueeze(1)
        cut = self._windows if self.window else self._transitions
        return ReplaySample(*cut(ring, row, step), weight, leaf)

    def set_errors(self, drawn: ReplaySample, error: Tensor) -> None:
        """Set the priorities p = (|δ| + ε)^α of what was drawn; of a window, 0.9 of its largest error and 0.1 of the mean.

        Args:
            drawn: just drawn, before anything was added.
            error: [N, T] the errors, those of steps that do not count being 0.
        """
        if self._tree is None:
            return
        size, mask = error.detach().abs().double().cpu(), drawn.trajectory.mask.cpu()
        mean = size.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        size = LARGEST_SHARE * size.amax(dim=1) + (1 - LARGEST_SHARE) * mean + SMALLEST_ERROR
        self._largest = max(self._largest, float(size.max()))
        # Drawn twice, a leaf has the same error twice up to rounding: one of them must be chosen the same way every time.
        leaf, first = map(torch.from_numpy, np.unique(drawn.leaf.cpu().numpy(), return_index=True))
        self._tree.set(leaf, size[first] ** self.priority_exponent)

    def state_dict(self) -> dict[str, Any]:
        """Give a copy of everything."""
        return {
            "largest": self._largest,
            "any_chosen": self._any_chosen,
            "generator": self.generator.get_state(),
            "ring": None if self._ring is None else self._ring.state_dict(),
            "priorities": None if self._tree is None else self._tree.weights.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._largest, self._any_chosen = state["largest"], state["any_chosen"]
        self.generator.set_state(state["generator"].cpu())
        self._ring = None if state["ring"] is None else StepRing.from_state_dict(state["ring"])
        self._tree = None
        if state["priorities"] is not None:
            self._tree = SumTree(len(state["priorities"]))
            self._tree.set(torch.arange(self._tree.size), state["priorities"])

    def _starts(self, ring: StepRing) -> tuple[int, int, Tensor | None]:
        """The first step that may be drawn, how many may be, and which, where these are not all that follow."""
        first = ring.oldest
        count = max(0, ring.total - max(1, self.window) + 1 - first)
        if not self.stored_state:
            return first, count, None
        begins = ring.begins[(ring.begins >= first) & (ring.begins < first + count)].sort().values
        return first, len(begins), begins

    def _draw_evenly(self, ring: StepRing, batch_size: int) -> tuple[Tensor, Tensor]:
        """Draw rows and steps; draw again where a transition would be a dummy step."""
        first, count, which = self._starts(ring)

        def draw(number: int) -> tuple[Tensor, Tensor]:
            row = torch.randint(ring.num_envs, (number,), generator=self.generator)
            step = torch.randint(count, (number,), generator=self.generator)
            return row, first + step if which is None else which[step]

        row, step = draw(batch_size)
        while not self.window:
            dummy = ~ring.columns["mask"][row, step % ring.num_slots]
            if not bool(dummy.any()):
                break
            row[dummy], step[dummy] = draw(int(dummy.sum()))
        return row, step

    def _give_priorities(self, ring: StepRing, tree: SumTree, before: int, written: Tensor) -> None:
        """Give what can be drawn for the first time the largest priority, and none to what was overwritten."""
        rows = torch.arange(ring.num_envs).unsqueeze(1) * ring.num_slots
        leaf = (rows + written).flatten()
        tree.set(leaf, torch.zeros(leaf.shape[0]))
        first, count, which = self._starts(ring)
        newest = max(first, before - max(1, self.window) + 1)
        which = torch.arange(newest, first + count) if which is None else which[which >= newest]
        slots = which % ring.num_slots
        counts = torch.ones(ring.num_envs, len(slots)) if self.window else ring.columns["mask"][:, slots].float()
        tree.set((rows + slots).flatten(), counts.flatten() * self._largest**self.priority_exponent)

    def _transitions(self, ring: StepRing, row: Tensor, step: Tensor) -> tuple[Trajectory, Tensor, Tensor, Tensor]:
        """Join up to n steps from each start, without touching the observations between."""
        steps = step.unsqueeze(1) + torch.arange(self.n)
        newest = steps >= ring.total - 1
        reward, terminated, truncated = ring.read(row, steps, "reward", "terminated", "truncated")
        reward = reward if self.present is None else self.present(reward)
        # What follows the newest step is not known yet: it is a truncation for now.
        cut = truncated | (newest & ~terminated)
        joined = n_step_transitions(reward, terminated, cut, self.gamma, self.n)
        n_step_return, gamma, index = (column[:, :1] for column in joined)
        action, mask = (column.unsqueeze(1) for column in ring.read(row, step, "action", "mask"))
        obs = ring.read_obs(row, torch.cat([step.unsqueeze(1), step.unsqueeze(1) + index], dim=1))
        ended = {"terminated": gamma == 0, "truncated": torch.zeros_like(mask)}
        trajectory = _trajectory(obs, action=action, mask=mask, reward=n_step_return, **ended)
        return trajectory, n_step_return, gamma, torch.ones_like(index)

    def _windows(self, ring: StepRing, row: Tensor, step: Tensor) -> tuple[Trajectory, Tensor, Tensor, Tensor]:
        """Cut windows out of the rings."""
        steps = step.unsqueeze(1) + torch.arange(self.window + 1)
        columns = dict(zip(FIELDS, ring.read(row, steps[:, :-1], *FIELDS), strict=True))
        if self.present is not None:
            columns["reward"] = self.present(columns["reward"])
        trajectory = _trajectory(ring.read_obs(row, steps), **columns)
        if self.stored_state:
            trajectory = trajectory.replace(state0=ring.read_state(row, step))
        joined = n_step_transitions(columns["reward"], columns["terminated"], columns["truncated"], self.gamma, self.n)
        return trajectory, *joined


def _trajectory(obs: Tree, **columns: Tensor) -> Trajectory:
    """Put windows together; nobody knows any more how probable or valuable the actions seemed."""
    zero = torch.zeros(columns["mask"].shape[0], columns["mask"].shape[1] + 1)
    return Trajectory.of_known({"logp": zero[:, 1:], "value": zero, "obs": obs, **columns})
