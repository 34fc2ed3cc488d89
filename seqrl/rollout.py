"""The samplers of environments: `unroll` gives trajectories to learn from, `play` greedy episodes to look at or to score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from seqrl.protocols import Policy
from seqrl.trajectory import Step, Trajectory, Tree, map_tree


class Source(Protocol):
    """What a policy acts on, batched: tokens, glimpses, vector environments.

    Attributes:
        obs: what is seen now; every leaf [B, ...].
        active: [B] bool, True where the next action counts. False after the end of a sequence and on the dummy step
            with which a vector environment resets itself.
        finished: True once no row will be active again.
    """

    # Properties, so that a source's own attribute may be of a narrower type.
    @property
    def obs(self) -> Tree:
        """What is seen now; every leaf [B, ...]."""

    @property
    def active(self) -> Tensor:
        """[B] bool, True where the next action counts."""

    @property
    def finished(self) -> bool:
        """True once no row will be active again."""

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Take one action a row; give obs, reward [B], terminated [B] and truncated [B]."""


@torch.no_grad()
def unroll(
    policy: nn.Module,
    source: Source,
    *,
    max_steps: int,
    context: Tree = None,
    state: Tree = None,
    group: Tensor | None = None,
    forced: Tensor | None = None,
    greedy: bool = False,
    bootstrap: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[Trajectory, Tree]:
    """Let a policy act for up to `max_steps` steps, and stop early when the source has finished.

    A row that a vector environment resets starts again from the initial recurrent state, after its dummy step: the
    value of the last observation still belongs to the old state. A policy without memory may leave logp and value out of
    its steps and compute them afterwards, for all steps at once, in `annotate(trajectory) -> Trajectory`.

    Args:
        policy: see `seqrl.protocols.Policy`.
        source: where the actions go; it keeps its state, so that the next call goes on from there.
        max_steps: largest T.
        context: what each row is conditioned on; every leaf [B, ...].
        state: recurrent state to go on from; the policy's initial state when None.
        group: [B] kept in the trajectory.
        forced: [B, S, ...] the first S actions, taken instead of the policy's own and not counted.
        greedy: take the most probable action.
        bootstrap: also estimate the value after the last step, which costs one more act.
        generator: draws the actions.

    Returns:
        The trajectory with T <= max_steps, and the recurrent state after it.

    Raises:
        ValueError: when max_steps is below 1, or steps lack what the policy has no `annotate` for.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
    num_forced = 0 if forced is None else forced.shape[1]
    actor = cast(Policy, policy)
    initial = actor.initial_state(context)
    state = state0 = initial if state is None else state
    obs: list[Tree] = [source.obs]
    steps: list[Step] = []
    masks: list[Tensor] = []
    outcomes: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(max_steps):
        live = mask = source.active
        step = actor.act(obs[-1], state, greedy=greedy, generator=generator)
        if forced is not None and t < num_forced:
            step = Step(forced[:, t], step.logp, step.value, step.state)
            mask = torch.zeros_like(live)
        seen, *outcome = source.step(step.action)
        steps.append(step)
        masks.append(mask)
        obs.append(seen)
        outcomes.append((outcome[0], outcome[1], outcome[2]))
        state = None if step.state is None else _restart(step.state, initial, ~live)
        if source.finished:
            break
    reward, terminated, truncated = (_columns(column) for column in zip(*outcomes, strict=True))
    postponed = steps[0].logp is None or steps[0].value is None
    logp, value = torch.zeros_like(reward), reward.new_zeros(reward.shape[0], len(steps) + 1)
    if not postponed:
        logp = _columns([cast(Tensor, step.logp) for step in steps])
        value = torch.nn.functional.pad(_columns([cast(Tensor, step.value) for step in steps]), (0, 1))
        if bootstrap:
            value[:, -1] = cast(Tensor, actor.act(obs[-1], state, greedy=True).value)
    trajectory = Trajectory(
        action=_columns([step.action for step in steps]),
        logp=logp,
        value=value,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        mask=_columns(masks),
        obs=map_tree(lambda *leaves: torch.stack(leaves, dim=1), *obs),
        context=context,
        group=group,
        # An empty memory has its size from the first state that follows it.
        state0=map_tree(torch.zeros_like, steps[0].state) if state0 is None else state0,
    )
    if not postponed:
        return trajectory, state
    annotate: Callable[[Trajectory], Trajectory] | None = getattr(policy, "annotate", None)
    if annotate is None:
        raise ValueError(f"{type(policy).__name__}: its steps have no logp or value, so it needs annotate(trajectory) that sets them")
    return annotate(trajectory), state


@torch.no_grad()
def play(policy: nn.Module, source: Source, *, max_steps: int, before_step: Callable[[int], None] | None = None) -> tuple[Tensor, Tensor]:
    """Take the most probable actions until every row has ended once, and keep nothing but the sums.

    Args:
        policy: see `seqrl.protocols.Policy`; without a context.
        source: just reset; one that finishes.
        max_steps: where an episode is given up.
        before_step: called with the number of steps so far before each one, for instance to draw a frame.

    Returns:
        ([B] float64 undiscounted return, [B] long number of steps).
    """
    actor = cast(Policy, policy)
    state = actor.initial_state(None)
    total = torch.zeros(source.active.shape, dtype=torch.float64, device=source.active.device)
    length = torch.zeros_like(total, dtype=torch.long)
    for t in range(max_steps):
        if source.finished:
            break
        if before_step is not None:
            before_step(t)
        length += source.active
        step = actor.act(source.obs, state, greedy=True)
        state = step.state
        total += source.step(step.action)[1]
    return total, length


def refuse_forced_steps(number: int) -> None:
    """Refuse forced steps, for the rollout of a task without demonstrations.

    Raises:
        ValueError: when there are any.
    """
    if number:
        raise ValueError(
            f"forced steps: expected 0 where a task has no demonstrations, got {number}; set imitation.forced_steps to 0, or "
            "choose a task that has some"
        )


def evaluation_seed(split: str, seeds: Mapping[str, int]) -> int:
    """Give the seed of a split's starts or contexts.

    Args:
        split: such as "dev".
        seeds: of the splits there are.

    Raises:
        ValueError: when there is no such split.
    """
    if split not in seeds:
        raise ValueError(f"split: expected one of {', '.join(seeds)}, got {split!r}")
    return seeds[split]


def _columns(tensors: Sequence[Tensor]) -> Tensor:
    """Put tensors [B, ...] side by side, [B, T, ...]; a single one, as tables are learned from, without torch.stack's cost."""
    return torch.stack(list(tensors), dim=1) if len(tensors) > 1 else tensors[0].unsqueeze(1).clone()


def _restart(state: Tree, initial: Tree, rows: Tensor) -> Tree:
    """Put some rows back to the initial state; None stands for zeros."""
    if not bool(rows.any()):
        return state
    initial = map_tree(torch.zeros_like, state) if initial is None else initial

    def pick(now: Tensor, start: Tensor) -> Tensor:
        # A state that grows with time (an attention cache) belongs to a source whose rows never restart.
        return torch.where(rows.to(now.device).view(-1, *[1] * (now.ndim - 1)), start, now) if now.shape == start.shape else now

    return map_tree(pick, state, initial)
