"""What lies between the policy that acts and the one that learns: weights that lag behind, and probability ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributions import Categorical
from seqrl.functional.importance import row_ratio
from seqrl.functional.reductions import masked_mean
from seqrl.protocols import Policy
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree


class StaleActor:
    """Lets a policy act with the weights that it had some updates ago, as the actors of a distributed run do.

    In the n-th rollout (from 0) the policy acts with the weights of update max(0, n - lag). Only parameters lag: what a
    policy counts in buffers while it acts (statistics of observations) stays its own.

    Args:
        policy: its parameters are exchanged while it acts, and put back.
        lag: number of updates; None for ever, so that the initial weights act all the time.

    Raises:
        ValueError: when the lag is negative.
    """

    def __init__(self, policy: nn.Module, lag: int | None) -> None:
        if lag is not None and lag < 0:
            raise ValueError(f"actor_lag: expected at least 0 updates, got {lag}")
        self._policy, self._lag = policy, lag
        self._queue: list[list[Tensor]] = []  # of the last updates, oldest first

    @contextmanager
    @torch.no_grad()
    def acting(self) -> Iterator[None]:
        """Exchange the weights for the time of one rollout."""
        if self._lag == 0:
            yield
            return
        present = [parameter.clone() for parameter in self._policy.parameters()]
        before = [*self._queue]
        if self._lag is not None or not self._queue:
            self._queue.append(present)
        if self._lag is not None:
            del self._queue[: -self._lag - 1]
        self._set(self._queue[0])
        try:
            yield
        except BaseException:
            self._queue = before  # that rollout is still to be made
            raise
        finally:  # an environment that raises must not leave old weights to be saved
            self._set(present)

    def _set(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self._policy.parameters(), weights, strict=True):
            parameter.copy_(weight)

    def state_dict(self) -> dict[str, list[list[Tensor]]]:
        """Give the weights that are still to act."""
        return {"queue": self._queue}

    def load_state_dict(self, state: dict[str, list[list[Tensor]]]) -> None:
        """Go back to a saved state."""
        devices = [parameter.device for parameter in self._policy.parameters()]
        self._queue = [[weight.to(device) for weight, device in zip(weights, devices, strict=True)] for weights in state["queue"]]


class UniformMixture(nn.Module):
    """Acts like another policy, but with probability epsilon draws its action evenly from those allowed.

    mu(a | s) = (1 - epsilon) pi(a | s) + epsilon / N, and this is the log-probability that it reports.

    Args:
        policy: with a `Categorical` as its `Evaluation.distribution`.
        epsilon: in 0..1.
    """

    def __init__(self, policy: nn.Module, epsilon: float) -> None:
        super().__init__()
        self.policy, self.epsilon = policy, epsilon

    def initial_state(self, context: Tree) -> Tree:
        """Give the other policy's state."""
        return cast(Policy, self.policy).initial_state(context)

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Let the other policy look at a rollout's observations, where it counts them."""
        observe = getattr(self.policy, "observe", None)
        if observe is not None:
            observe(obs, mask)

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row; values are left at zero, the learner has its own.

        Raises:
            ValueError: when the policy's actions are not drawn from a `Categorical`.
        """
        step = cast(Policy, self.policy).act(obs, state, greedy=greedy, generator=generator)
        none = torch.zeros(step.action.shape[0], device=step.action.device)
        if greedy:
            return Step(step.action, none, none, step.state)
        distribution = self.policy(_one_step(obs, state, step.action, none)).distribution
        if not isinstance(distribution, Categorical):
            raise ValueError(
                f"epsilon: expected a policy with one choice among numbered actions (Categorical), got {type(distribution).__name__}; "
                "set trainer.epsilon=0"
            )
        logits = distribution.logits[:, 0]
        even = Categorical(torch.where(logits == -math.inf, logits, 0.0))
        chance = torch.rand(none.shape, generator=generator, device=none.device) < self.epsilon
        action = torch.where(chance, even.sample(generator), step.action)
        mixed = (1 - self.epsilon) * Categorical(logits).logp(action).exp() + self.epsilon * even.logp(action).exp()
        return Step(action, mixed.log(), none, step.state)


def _one_step(obs: Tree, state: Tree, action: Tensor, none: Tensor) -> Trajectory:
    """Make a trajectory of one step, to ask a policy for its distribution."""
    no = torch.zeros_like(none, dtype=torch.bool).unsqueeze(1)
    twice = map_tree(lambda leaf: torch.stack([leaf, leaf], dim=1), obs)
    zero = none.unsqueeze(1)
    said = {"action": action.unsqueeze(1), "logp": zero, "value": zero.expand(-1, 2), "reward": zero}
    return Trajectory.of_known({**said, "terminated": no, "truncated": no, "mask": ~no, "obs": twice, "state0": state})


class RowRatios:
    """Weighs the advantages of one update's rows with `row_ratio`, and keeps the weights for the log.

    Args:
        active: whether another policy than the present one has sampled; else nothing is changed.
    """

    def __init__(self, *, active: bool) -> None:
        self._active = active
        self._seen: list[tuple[Tensor, Tensor]] = []

    def weigh(self, advantage: Tensor, part: Trajectory, evaluation: Evaluation) -> Tensor:
        """Give w A.

        Args:
            advantage: [B, T] of the part's rows.
            part: rows as they were sampled.
            evaluation: of these rows by the policy being learned.
        """
        if not self._active:
            return advantage
        ratio = row_ratio(evaluation.logp, part.logp, part.mask).unsqueeze(1)
        self._seen.append((ratio, part.mask.any(dim=1, keepdim=True)))
        return advantage * ratio

    def stats(self) -> dict[str, float]:
        """Describe the weights; see `describe_ratios`."""
        if not self._seen:
            return {}
        ratios, rows = (torch.cat(column) for column in zip(*self._seen, strict=True))
        return describe_ratios(ratios, rows)


def append_last_observation(trajectory: Trajectory) -> Trajectory:
    """Add a step that does not count, so that evaluating the trajectory also gives the value after its last step.

    Args:
        trajectory: T steps.

    Returns:
        The same with T + 1 steps. Its added action is 0.
    """

    def longer(tensor: Tensor) -> Tensor:
        return F.pad(tensor, [0, 0] * (tensor.ndim - 2) + [0, 1])

    per_step = ("action", "logp", "reward", "terminated", "truncated", "mask", "value")
    changes = {name: longer(getattr(trajectory, name)) for name in per_step}
    imitate = None if trajectory.imitate is None else longer(trajectory.imitate)
    obs = map_tree(lambda leaf: torch.cat([leaf, leaf[:, -1:]], dim=1), trajectory.obs)
    return trajectory.replace(**changes, imitate=imitate, obs=obs)


def bootstraps_at_end(trajectory: Trajectory) -> bool:
    """Tell whether the value after the last step is needed: some row's last step counts and does not terminate."""
    return bool((trajectory.mask & ~trajectory.terminated)[:, -1].any())


@torch.no_grad()
def describe_ratios(weight: Tensor, mask: Tensor) -> dict[str, float]:
    """Describe importance weights over the steps that count.

    The effective share is (Σ w)² / (N Σ w²): which share of the N steps would tell as much if all had the same weight.

    Args:
        weight: [B, T] float.
        mask: [B, T] bool.

    Source: Kong 1992 (A note on importance sampling using standardized weights).
    """
    mean, square = masked_mean(weight, mask), masked_mean(weight.square(), mask)
    return {
        "importance/mean": float(mean),
        "importance/max": float(torch.where(mask, weight, 0.0).max()),
        "importance/effective_share": float(mean.square() / square.clamp(min=1e-30)),
    }
