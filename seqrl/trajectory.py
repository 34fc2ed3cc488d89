"""The data that flows between a task, a policy and a trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.padding import PADDED, all_finite, silenced_padding
from seqrl.trees import Tree as Tree
from seqrl.trees import map_tree as map_tree
from seqrl.trees import tree_leaves as tree_leaves

if TYPE_CHECKING:
    from seqrl.distributions import Distribution


@dataclass(frozen=True)
class Step:
    """What a policy gives for one step of a batch.

    Attributes:
        action: [B, ...] the chosen actions.
        logp: [B] log-probability of `action` under the policy, nats; None from a policy without memory that would rather
            compute it for all steps at once, in its `annotate` (see `seqrl.protocols.Policy`).
        value: [B] value estimate of the observation; zeros where there is no critic; None as for `logp`.
        state: recurrent state for the next step. It never contains the action: that comes back through the observation.
    """

    action: Tensor
    logp: Tensor | None
    value: Tensor | None
    state: Tree = None


@dataclass(frozen=True)
class Evaluation:
    """What a policy says, differentiably, about the actions of a trajectory.

    Attributes:
        logp: [B, T] log-probability of each action, nats.
        entropy: [B, T] entropy of the action distribution, nats.
        value: [B, T] value estimates; zeros where there is no critic.
        aux_loss: [] or [K], losses of the policy's own, added as they are (for instance a glimpse policy's classification loss); each
            is the mean over what the policy's `aux_count` counts (see `seqrl.protocols.Policy`). None where there is nothing to
            learn, as in a pass without gradients.
        mean_logp: [B, T] mean log-probability over all possible actions, which label smoothing needs; None where the
            actions cannot be enumerated.
        distribution: what the actions are drawn from, leaves [B, T, ...] (see `seqrl.distributions`); None where a policy
            does not tell.
        returns: [B, T, N] what the policy says about the whole distribution of the return that follows each action (logits
            of fixed returns, or quantiles); None where it estimates the mean alone.
    """

    logp: Tensor
    entropy: Tensor
    value: Tensor
    aux_loss: Tensor | None = None
    mean_logp: Tensor | None = None
    distribution: Distribution | None = None
    returns: Tensor | None = None


@dataclass(frozen=True)
class Trajectory:
    """B sequences of T actions with what was seen, what they earned and where they count.

    A sampled caption, six glances at a digit and 128 steps of a game all have this form. Batch comes first everywhere.

    What does not count is finite: where neither `mask` nor `imitate` is True, and nothing before it leads there, a NaN or an
    infinity is set to 0 when a trajectory is made (`seqrl.padding`). A gradient of 0 times NaN is NaN, so a mask alone keeps none out.

    Attributes:
        action: [B, T, ...] the actions taken.
        logp: [B, T] log-probability under the policy that sampled the action, nats.
        value: [B, T+1] value estimates; zeros where there is no critic.
        reward: [B, T] reward that followed the action.
        terminated: [B, T] bool, nothing of value follows this step.
        truncated: [B, T] bool, cut short after this step: bootstrap from `value[:, t+1]`.
        mask: [B, T] bool, True where the policy chose the action and it counts.
        obs: what was seen before each action; every leaf is [B, T+1, ...]. None where the policy needs none.
        context: what a whole row is conditioned on, for instance its image; every leaf is [B, ...].
        group: [B] integer; rows with the same number share a context (several captions of one image).
        baseline: [B] score to subtract, for instance the greedy caption's.
        imitate: [B, T] bool, True where the action is a demonstration to be learned by cross-entropy. Such steps have
            `mask` False. None is the same as False everywhere.
        state0: recurrent state before the first action; every leaf is [B, ...].

    Raises:
        ValueError: when a field's shape or type does not fit the others.
    """

    action: Tensor
    logp: Tensor
    value: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    obs: Tree = None
    context: Tree = None
    group: Tensor | None = None
    baseline: Tensor | None = None
    imitate: Tensor | None = None
    state0: Tree = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._silence_padding(FIELDS)

    def _check_shapes(self) -> None:
        if self.action.ndim < 2:
            raise ValueError(f"action: expected shape [B, T, ...], got {list(self.action.shape)}")
        B, T = self.action.shape[:2]
        expected: dict[str, tuple[int, ...]] = {name: (B, T) for name in ("logp", "reward", "terminated", "truncated", "mask", "imitate")}
        expected |= {"value": (B, T + 1), "group": (B,), "baseline": (B,)}
        for name, shape in expected.items():
            field = getattr(self, name)
            if field is not None and tuple(field.shape) != shape:
                raise ValueError(f"{name}: expected shape {list(shape)} to fit action {[B, T]}, got {list(field.shape)}")
            if field is not None and field.dtype != torch.bool and name in ("terminated", "truncated", "mask", "imitate"):
                raise ValueError(f"{name}: expected a bool tensor, got {field.dtype}; write `{name}.bool()`")
        for leaf in tree_leaves(self.obs):
            if tuple(leaf.shape[:2]) != (B, T + 1):
                expectation = f"obs: expected leaves [B, T+1, ...] = {[B, T + 1]}, got {list(leaf.shape)}"
                raise ValueError(f"{expectation}; what holds for a whole row belongs into context")
        for name in ("context", "state0"):
            for leaf in tree_leaves(getattr(self, name)):
                if leaf.shape[0] != B:
                    raise ValueError(f"{name}: expected leaves [B, ...] with B = {B}, got {list(leaf.shape)}")

    def _silence_padding(self, names: Iterable[str]) -> None:
        fields = {name: getattr(self, name) for name in names if name in PADDED}
        if all_finite(fields.values()):
            return
        for name, tree in silenced_padding(fields, self.counted, self.terminated).items():
            object.__setattr__(self, name, tree)

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return self.action.shape[0]

    @property
    def num_steps(self) -> int:
        """T, the number of steps of a row, padding included."""
        return self.action.shape[1]

    @property
    def counted(self) -> Tensor:
        """[B, T] bool, True where the step is learned from: chosen by the policy, or a demonstration."""
        return self.mask if self.imitate is None else self.mask | self.imitate

    @property
    def score(self) -> Tensor:
        """[B] the sum of each row's rewards."""
        return self.reward.sum(dim=1)

    def fields(self) -> dict[str, Tree]:
        """Give all fields by name, as `Trajectory(**fields)` takes them."""
        return {name: getattr(self, name) for name in FIELDS}

    def replace(self, **changes: Tree) -> Trajectory:
        """Copy with some fields changed.

        Raises:
            TypeError: when there is no such field.
            ValueError: when its shape or type does not fit the others.
        """
        if unknown := changes.keys() - set(FIELDS):
            raise TypeError(f"replace: expected fields of a Trajectory, got {', '.join(sorted(unknown))}")
        new = Trajectory.of_known(self.fields() | changes)
        new._check_shapes()
        # What was looked at when this one was made need not be looked at again, unless other steps count now.
        new._silence_padding(FIELDS if changes.keys() & {"mask", "imitate", "terminated"} else changes)
        return new

    @classmethod
    def of_known(cls, fields: Mapping[str, Tree]) -> Trajectory:
        """Make one of parts of others, whose shapes fit and whose padding is finite, without looking at them again.

        Args:
            fields: by name; those that are left out are None.
        """
        new = object.__new__(cls)
        for name in FIELDS:
            object.__setattr__(new, name, fields.get(name))
        return new

    def select_rows(self, rows: Tensor | slice) -> Trajectory:
        """Keep the rows that an index, a bool mask or a slice names.

        Args:
            rows: [N] integer or [B] bool tensor, or a slice, which copies nothing.
        """
        return self._each(lambda name, leaf: leaf[rows])

    def select_steps(self, rows: Tensor, steps: Tensor, *, following: bool = True) -> Trajectory:
        """Make a row of one step from each named step, for policies without memory.

        Args:
            rows: [N] integer, row of each step.
            steps: [N] integer, its time.
            following: also select what was seen after the step. Without, what was seen before it stands there, too, at no
                cost; a policy's forward never looks at it.

        Raises:
            ValueError: when a recurrent state ties the steps of a row together.
        """
        if tree_leaves(self.state0):
            raise ValueError("steps of a recurrent policy cannot be shuffled apart; use minibatches over rows")

        def select(name: str, leaf: Tensor) -> Tensor:
            if name in ("context", "group", "baseline", "state0"):
                return leaf[rows]
            before = _gather(leaf, rows, steps).unsqueeze(1)
            if name == "obs" and not following:
                return before.expand(-1, 2, *before.shape[2:])
            return torch.cat([before, _gather(leaf, rows, steps + 1).unsqueeze(1)], dim=1) if name in ("obs", "value") else before

        return self._each(select)

    def to(self, device: torch.device | str) -> Trajectory:
        """Move every tensor to a device."""
        return self._each(lambda name, leaf: leaf.to(device))

    def _each(self, function: Callable[[str, Tensor], Tensor]) -> Trajectory:
        """Map each tensor, given the name of its field. The shapes still fit each other, so they are not checked again."""
        return Trajectory.of_known({name: map_tree(partial(function, name), getattr(self, name)) for name in FIELDS})


FIELDS = tuple(field.name for field in dataclasses.fields(Trajectory))


def _gather(leaf: Tensor, rows: Tensor, steps: Tensor) -> Tensor:
    """Take leaf[rows, steps]; whole rows of memory at once where there are some, such as frames, which is 20 times as fast."""
    if leaf.ndim > 2 and leaf.is_contiguous():
        return leaf.flatten(0, 1).index_select(0, rows * leaf.shape[1] + steps)
    return leaf[rows, steps]


def concatenate(trajectories: Sequence[Trajectory]) -> Trajectory:
    """Put the rows of several trajectories under each other, padding the shorter ones with steps that do not count.

    Args:
        trajectories: at least one; all with the same contexts' and observations' structure. A `group`, `baseline` or
            `imitate` that only some have is filled with -1, 0 and False.

    Raises:
        ValueError: when there is nothing to concatenate, or only some have observations, a context or a state.
    """
    if not trajectories:
        raise ValueError("expected at least one trajectory, got none")
    for name in ("obs", "context", "state0"):
        if len({getattr(trajectory, name) is None for trajectory in trajectories}) > 1:
            raise ValueError(f"{name}: expected it in all trajectories or in none, only some have it; add it to the others")
    T = max(trajectory.num_steps for trajectory in trajectories)
    fills = {"group": (-1, torch.long), "baseline": (0.0, trajectories[0].reward.dtype), "imitate": (False, torch.bool)}
    present = {name for name in fills if any(getattr(t, name) is not None for t in trajectories)}

    def padded(trajectory: Trajectory, name: str) -> Tree:
        tree = getattr(trajectory, name)
        if tree is None and name in present:
            like, (fill, dtype) = trajectory.mask if name == "imitate" else trajectory.mask[:, 0], fills[name]
            tree = torch.full_like(like, fill, dtype=dtype)
        if name in ("group", "baseline", "context", "state0"):
            return tree
        missing = T - trajectory.num_steps
        return map_tree(lambda leaf: F.pad(leaf, [0, 0] * (leaf.ndim - 2) + [0, missing]), tree)

    columns = {name: [padded(trajectory, name) for trajectory in trajectories] for name in FIELDS}
    return Trajectory(**{name: map_tree(lambda *leaves: torch.cat(leaves), *trees) for name, trees in columns.items()})  # type: ignore[arg-type]


def imitated(trajectory: Trajectory) -> Tensor:
    """Say where the action is a demonstration, [B, T]; nowhere where `imitate` is None, as in a process that has none of its own."""
    return torch.zeros_like(trajectory.mask) if trajectory.imitate is None else trajectory.imitate
