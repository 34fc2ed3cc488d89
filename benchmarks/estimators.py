"""The policy gradient's estimators, put together from `seqrl.functional` as the trainers do it.

An estimator gives each step of a row a loss. Minus its derivative by the step's log-probability is the step's weight w_t, and the row's
gradient is Σ_t w_t ∇ log π(a_t | s_t). So the package's own functions say the weights, and a table policy's score functions, which are
written out, make gradients of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from seqrl.functional import advantages, importance, losses, returns
from seqrl.functional.reductions import AverageOver
from seqrl.trajectory import Trajectory

Critic = Literal["none", "exact", "clockless", "wrong", "behaviour"]
NO_LIMIT = 1e9


@dataclass(frozen=True)
class Estimator:
    """One way to estimate the gradient.

    Attributes:
        loss: rows and log-probabilities [B, T] of the policy that learns -> losses [B, T].
        critic: whose values the rows carry.
        rows: of a group that is compared; 1 where each row stands alone.
        over: what the loss is averaged over.
        whole_rows: the loss depends on scores and lengths of the rows alone, which leaves few different groups to enumerate.
        greedy: the rows carry the score of a greedy episode.
    """

    loss: Callable[[Trajectory, Tensor], Tensor]
    critic: Critic = "none"
    rows: int = 1
    over: AverageOver = "rows"
    whole_rows: bool = False
    greedy: bool = False


def weighed(advantage: Callable[[Trajectory, Tensor], Tensor], rows: Trajectory, logp: Tensor) -> Tensor:
    """Give the loss of an advantage [B] or [B, T]."""
    given = advantage(rows, logp.detach())
    return losses.policy_gradient(logp, given.unsqueeze(1).expand_as(logp) if given.ndim == 1 else given)


def ends(rows: Trajectory) -> tuple[Tensor, Tensor]:
    return rows.terminated, rows.truncated


def to_go(rows: Trajectory, gamma: float = 1.0) -> Tensor:
    return returns.discounted_return(rows.reward, rows.value, *ends(rows), gamma)


def whole(rows: Trajectory) -> Tensor:
    return returns.episode_return(to_go(rows), rows.terminated, rows.mask)


def ratio(rows: Trajectory, logp: Tensor) -> Tensor:
    return torch.where(rows.mask, logp - rows.logp, 0.0).exp()


def above_constant(average: float, rows: Trajectory, logp: Tensor) -> Tensor:
    score = whole(rows)[:, -1]
    return advantages.moving_average(score, torch.tensor(average, dtype=score.dtype), 0.95, score.mean())[0]


def to_go_above_others(rows: Trajectory, logp: Tensor) -> Tensor:
    return advantages.leave_one_out_to_go(to_go(rows), rows.mask, rows.group)


def above_value(gamma: float, rows: Trajectory, logp: Tensor) -> Tensor:
    return advantages.critic(to_go(rows, gamma), rows.value)


def n_steps(n: int, rows: Trajectory, logp: Tensor) -> Tensor:
    return advantages.critic(returns.n_step(rows.reward, rows.value, *ends(rows), 1.0, n), rows.value)


def gae(gae_lambda: float, rows: Trajectory, logp: Tensor) -> Tensor:
    return returns.gae(rows.reward, rows.value, *ends(rows), 1.0, gae_lambda)


def per_decision(limit: float, rows: Trajectory, logp: Tensor) -> Tensor:
    """As the trainer off_policy has it, with `max_weight: limit`."""
    weight = importance.cumulative_ratio(ratio(rows, logp), rows.terminated).clamp(max=limit)
    return importance.per_decision_return(rows.reward, weight, rows.value, *ends(rows), 1.0) - weight * rows.value[:, :-1]


def per_row(rows: Trajectory, logp: Tensor) -> Tensor:
    """As the trainer reinforce has it for rows that an older policy sampled."""
    return importance.row_ratio(logp, rows.logp, rows.mask).unsqueeze(1) * advantages.critic(to_go(rows), rows.value)


def own_action(rows: Trajectory, logp: Tensor) -> Tensor:
    """As the trainer off_policy has it, with `weighting: own_action`."""
    rho = ratio(rows, logp)
    return rho * (importance.corrected_return(rows.reward, rho, rows.value, *ends(rows), 1.0) - rows.value[:, :-1])


def vtrace(rho_bar: float, c_bar: float, rows: Trajectory, logp: Tensor) -> Tensor:
    return returns.vtrace(logp, rows.logp, rows.reward, rows.value, *ends(rows), 1.0, rho_bar, c_bar)[1]


def ppo(clip: float | None, rows: Trajectory, logp: Tensor) -> Tensor:
    """PPO's loss with GAE at λ = 0.95 of the critic that had seen the older policy; no clip: the bare ratio."""
    low, high = (1.0, NO_LIMIT) if clip is None else (clip, clip)
    return losses.ppo_clip(logp, rows.logp, gae(0.95, rows, logp), low, high)


def on_policy(average: float, quietest: float) -> dict[str, Estimator]:
    """Name the estimators for fresh rows.

    Args:
        average: mean score of earlier batches, for the moving average.
        quietest: the constant baseline of least variance, see `quietest_constant`.
    """

    def plain(rows: Trajectory, logp: Tensor) -> Tensor:
        return whole(rows)

    def score_of(compare: Callable[..., Tensor]) -> Callable[[Trajectory, Tensor], Tensor]:
        return lambda rows, logp: compare(rows.score, rows.group)

    def greedy(rows: Trajectory, logp: Tensor) -> Tensor:
        return advantages.greedy(rows.score, rows.baseline)

    found = {
        "REINFORCE: return of the whole episode": Estimator(partial(weighed, plain)),
        "the same, mean over each row's steps": Estimator(partial(weighed, plain), over="row_means"),
        "the same, mean over the steps of 2 rows": Estimator(partial(weighed, plain), rows=2, over="steps", whole_rows=True),
        "moving average": Estimator(partial(weighed, partial(above_constant, average))),
        "constant of least variance": Estimator(partial(weighed, partial(above_constant, quietest))),
        "greedy episode": Estimator(partial(weighed, greedy), greedy=True, whole_rows=True),
        "leave one out, 4 rows": Estimator(partial(weighed, score_of(advantages.leave_one_out)), rows=4, whole_rows=True),
        "group mean, 4 rows": Estimator(partial(weighed, score_of(advantages.group_mean)), rows=4, whole_rows=True),
        "group norm, 4 rows": Estimator(partial(weighed, score_of(advantages.group_norm)), rows=4, whole_rows=True),
        "reward to go": Estimator(partial(weighed, lambda rows, logp: to_go(rows))),
        "reward to go, leave one out, 2 rows": Estimator(partial(weighed, to_go_above_others), rows=2),
    }
    critics: tuple[Critic, ...] = ("exact", "clockless", "wrong")
    for critic in critics:
        found[f"reward to go - V, {critic}"] = Estimator(partial(weighed, partial(above_value, 1.0)), critic)
    for gamma in (0.9, 0.5):
        found[f"reward to go at gamma {gamma:g} - V, exact"] = Estimator(partial(weighed, partial(above_value, gamma)), "exact")
    for critic in critics:
        found |= {f"{n} steps, V {critic}": Estimator(partial(weighed, partial(n_steps, n)), critic) for n in (1, 2, 4)}
    for critic in critics:
        lambdas = (0.0, 0.5, 0.9, 0.95, 1.0)
        found |= {f"GAE lambda {value:g}, V {critic}": Estimator(partial(weighed, partial(gae, value)), critic) for value in lambdas}
    return found


def off_policy() -> dict[str, Estimator]:
    """Name the estimators for rows that an older policy sampled; "behaviour" is a critic that has seen that policy alone."""
    return {
        "no weights": Estimator(partial(weighed, partial(above_value, 1.0)), "behaviour"),
        "weight of the whole row": Estimator(partial(weighed, per_row), "exact"),
        "per decision": Estimator(partial(weighed, partial(per_decision, NO_LIMIT)), "exact"),
        "per decision, at most 2": Estimator(partial(weighed, partial(per_decision, 2.0)), "exact"),
        "per decision, at most 1": Estimator(partial(weighed, partial(per_decision, 1.0)), "exact"),
        "own action": Estimator(partial(weighed, own_action), "exact"),
        "V-trace, no limits": Estimator(partial(weighed, partial(vtrace, NO_LIMIT, NO_LIMIT)), "exact"),
        "V-trace, c at most 1": Estimator(partial(weighed, partial(vtrace, NO_LIMIT, 1.0)), "exact"),
        "V-trace, rho and c at most 1": Estimator(partial(weighed, partial(vtrace, 1.0, 1.0)), "exact"),
        "per decision, V wrong": Estimator(partial(weighed, partial(per_decision, NO_LIMIT)), "wrong"),
        "V-trace, rho and c at most 1, V wrong": Estimator(partial(weighed, partial(vtrace, 1.0, 1.0)), "wrong"),
        "PPO's ratio, no clip": Estimator(partial(ppo, None), "behaviour"),
        "PPO, clip 0.2": Estimator(partial(ppo, 0.2), "behaviour"),
    }
