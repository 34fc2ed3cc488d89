"""Exact answers for worlds whose transitions are known: value iteration, policy iteration, and where the best policy changes.

Everything is float64: two actions count as equally good when they differ by less than `TOLERANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Model:
    """A Markov decision process in full.

    Attributes:
        transition: [S, A, S] float64, P(s' | s, a). A row that sums to less than 1 ends the episode with what is missing.
        reward: [S, A] float64, the mean reward of taking a in s.
    """

    transition: Tensor
    reward: Tensor

    def __post_init__(self) -> None:
        S, A = self.reward.shape
        if tuple(self.transition.shape) != (S, A, S):
            raise ValueError(f"transition: expected shape {[S, A, S]} to fit reward {[S, A]}, got {list(self.transition.shape)}")
        if bool((self.transition < 0).any()) or bool((self.transition.sum(dim=2) > 1 + TOLERANCE).any()):
            raise ValueError("transition: expected probabilities that sum to at most 1 over the next states")

    def action_values(self, utility: Tensor, gamma: float = 1.0) -> Tensor:
        """Look one step ahead: Q(s, a) = R(s, a) + γ Σ_s' P(s' | s, a) U(s').

        Args:
            utility: [S] float64, U.
            gamma: discount γ, per step.

        Returns:
            [S, A].
        """
        return self.reward + gamma * (self.transition @ utility)


def value_iteration(model: Model, gamma: float = 1.0, *, tolerance: float = 1e-12, max_sweeps: int = 100_000) -> Tensor:
    """Apply U(s) <- max_a [R(s, a) + γ Σ_s' P(s' | s, a) U(s')] from U = 0 until nothing changes any more.

    Args:
        model: see `Model`.
        gamma: discount γ, per step; 1 where every good policy comes to an end.
        tolerance: largest change of a utility in the last sweep.
        max_sweeps: where it is given up; with `tolerance` 0 the utilities of an episode of so many steps at most.

    Returns:
        [S] utilities.

    Raises:
        ValueError: when they still change after `max_sweeps`, unless `tolerance` is 0.

    Source: Russell & Norvig 2010 (Artificial intelligence, 3rd edition), section 17.2.
    """
    utility = torch.zeros(model.reward.shape[0], dtype=torch.float64)
    for _ in range(max_sweeps):
        before, utility = utility, model.action_values(utility, gamma).amax(dim=1)
        if float((utility - before).abs().max()) < tolerance:
            return utility
    if tolerance:
        raise ValueError(f"the utilities still change after {max_sweeps} sweeps; is there a reward for never ending? Try gamma < 1")
    return utility


def evaluate_policy(model: Model, policy: Tensor, gamma: float = 1.0, reward: Tensor | None = None) -> Tensor:
    """Solve U(s) = Σ_a π(a|s) [R(s, a) + γ Σ_s' P(s' | s, a) U(s')], a linear system, for the utilities of a policy.

    Args:
        model: see `Model`.
        policy: [S] action of each state, or [S, A] probabilities.
        gamma: discount γ, per step; 1 needs a policy that comes to an end from every state.
        reward: [S, A] other rewards than the model's.

    Returns:
        [S] utilities.

    Raises:
        torch.linalg.LinAlgError: when the policy never ends and nothing is discounted.
    """
    S, A = model.reward.shape
    share = policy if policy.ndim == 2 else torch.nn.functional.one_hot(policy, A).double()
    following = torch.einsum("sa,sat->st", share, model.transition)
    earned = (share * (model.reward if reward is None else reward)).sum(dim=1)
    return torch.linalg.solve(torch.eye(S, dtype=torch.float64) - gamma * following, earned)


def policy_iteration(model: Model, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """Evaluate a policy, improve it where another action is better, repeat until none is.

    It starts from actions at random, which end every episode of a world that can be left from everywhere; each improvement
    then ends, too, as long as going on for ever does not pay.

    Args:
        model: see `Model`.
        gamma: discount γ, per step.

    Returns:
        ([S] long actions, [S] utilities).

    Source: Howard 1960 (Dynamic programming and Markov processes); Russell & Norvig 2010, section 17.3.
    """
    S, A = model.reward.shape
    policy = torch.full((S, A), 1 / A, dtype=torch.float64)
    actions = model.action_values(evaluate_policy(model, policy, gamma), gamma).argmax(dim=1)
    while True:
        utility = evaluate_policy(model, actions, gamma)
        values = model.action_values(utility, gamma)
        better = values.amax(dim=1) > values.gather(1, actions.unsqueeze(1)).squeeze(1) + TOLERANCE
        if not bool(better.any()):
            return actions, utility
        actions = torch.where(better, values.argmax(dim=1), actions)


def best_actions(model: Model, utility: Tensor, gamma: float = 1.0) -> Tensor:
    """Mark every action that is as good as the best one, [S, A] bool."""
    values = model.action_values(utility, gamma)
    return values >= values.amax(dim=1, keepdim=True) - TOLERANCE


def staying_actions(model: Model) -> Tensor:
    """Mark the actions with which an episode can be kept from ending for ever, [S, A] bool.

    The largest set of states K with, for each of its states, an action that surely stays in K:
    K <- {s in K : there is an a with Σ_{s' in K} P(s' | s, a) = 1}, from K = all states.
    """
    kept = torch.ones(model.reward.shape[0], dtype=torch.float64)
    while True:
        staying = (model.transition @ kept >= 1 - TOLERANCE) & kept.bool().unsqueeze(1)
        smaller = staying.any(dim=1).double()
        if torch.equal(smaller, kept):
            return staying
        kept = smaller


def policy_changes(model: Model, per_step: Tensor, low: float, high: float) -> list[float]:
    """Find every step reward in (low, high) at which the best policy changes, undiscounted and exact.

    The utilities of a fixed policy are linear in the step reward r, U = a + b r, and so is how much better or worse another
    action is. Hence the best policy stays the best until the first of these lines crosses 0; from there the next one is sought.

    Args:
        model: with a step reward of 0.
        per_step: [S, A] what a step reward of 1 would add to each reward.
        low: where to begin.
        high: where to stop, at most 0.

    Source: Russell & Norvig 2010, exercise on the step rewards at which the policy of the 4x3 world changes.
    """
    changes: list[float] = []
    position = low
    while True:
        # A little beyond the crossing, where the next policy is strictly better.
        actions, _ = policy_iteration(Model(model.transition, model.reward + (position + 1e-6) * per_step))
        constant, slope = (evaluate_policy(model, actions, reward=reward) for reward in (model.reward, per_step))
        offset = model.action_values(constant) - constant.unsqueeze(1)
        growth = per_step + model.transition @ slope - slope.unsqueeze(1)
        crossings = torch.where(growth > TOLERANCE, -offset / growth, torch.inf)
        crossings = crossings[crossings > position + 1e-6]
        position = float(crossings.min()) if len(crossings) else torch.inf
        if position >= high - 1e-6:  # at 0 itself every way of waiting becomes as good
            return changes
        changes.append(position)
