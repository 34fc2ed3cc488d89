"""The policy gradient's estimators, put together from `seqrl.functional`, with their exact mean over all episodes of a small world.

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
from corridor import World, every_episode, exact_gradient, log_probabilities, play, score_functions, state_values, visits
from torch import Tensor

from seqrl.functional import advantages, importance, losses, returns
from seqrl.functional.reductions import AverageOver, masked_mean
from seqrl.trajectory import Trajectory

Critic = Literal["none", "exact", "clockless", "wrong", "behaviour"]
WRONG_BY = 0.5  # what the wrong critic's values are off by, up in one cell and down in the next one
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


def moving_average(average: float, rows: Trajectory, logp: Tensor) -> Tensor:
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


def on_policy(average: float) -> dict[str, Estimator]:
    """Name the estimators for fresh rows.

    Args:
        average: mean score of earlier batches, for the moving average.
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
        "moving average": Estimator(partial(weighed, partial(moving_average, average))),
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
        "PPO's ratio, no clip": Estimator(partial(ppo, None), "behaviour"),
        "PPO, clip 0.2": Estimator(partial(ppo, 0.2), "behaviour"),
    }


def critics_of(world: World, logits: Tensor, behaviour: Tensor) -> dict[Critic, Tensor]:
    """Make the critics' tables, [T + 1, S] each.

    "exact" knows state and time. "clockless" is the best that a table of states alone can be: the mean over the times of each visit.
    "wrong" is off by `WRONG_BY`. "behaviour" is exact for the older policy.
    """
    values, share = state_values(world, logits), visits(world, logits)
    mean = (share * values[:-1]).sum(dim=0) / share.sum(dim=0)
    error = WRONG_BY * (1 - 2 * (torch.arange(values.shape[1]) % 2)).double()
    return {
        "none": torch.zeros_like(values),
        "exact": values,
        "clockless": mean.expand_as(values),
        "wrong": values + error,
        "behaviour": state_values(world, behaviour),
    }


def prepare(rows: Trajectory, behaviour: Tensor, values: Tensor) -> Trajectory:
    """Give rows the log-probabilities of the policy that sampled them, and a critic's values."""
    assert isinstance(rows.obs, Tensor)
    time = torch.arange(rows.num_steps + 1)
    return rows.replace(logp=log_probabilities(rows, behaviour), value=values[time, rows.obs])


def step_weights(estimator: Estimator, rows: Trajectory, logp: Tensor) -> Tensor:
    """Give w [B, T], what each step's log-probability is multiplied with in the gradient of a row's share of the mean, times B."""
    free = logp.clone().requires_grad_()
    loss = estimator.loss(rows, free)
    if estimator.over == "steps":
        groups = zip(loss.split(estimator.rows), rows.mask.split(estimator.rows), strict=True)
        total = estimator.rows * torch.stack([masked_mean(part, mask, over="steps") for part, mask in groups]).sum()
    else:
        total = masked_mean(loss, rows.mask, 1.0, over=estimator.over)
    return -torch.autograd.grad(total, free)[0]


def in_groups(rows: Trajectory, size: int) -> Trajectory:
    """Number the rows by groups of `size` that stand under each other."""
    return rows.replace(group=torch.arange(rows.batch_size) // size)


@dataclass(frozen=True)
class Exact:
    """What enumeration says of an estimator.

    Attributes:
        mean: [S * A] expected gradient.
        variance: trace of the covariance of one row's gradient; None where rows are compared or a greedy episode is played.
    """

    mean: Tensor
    variance: float | None


def enumerate_estimator(estimator: Estimator, world: World, logits: Tensor, behaviour: Tensor) -> Exact:
    """Sum an estimator over all episodes, or groups of episodes, that the older policy `behaviour` can give."""
    rows, chance = every_episode(world)
    rows = prepare(rows, behaviour, critics_of(world, logits, behaviour)[estimator.critic])
    probability, logp = chance * rows.logp.sum(dim=1).exp(), log_probabilities(rows, logits)
    score = score_functions(rows, logits)
    if estimator.rows == 1 and not estimator.greedy:
        gradient = torch.einsum("bt,btp->bp", step_weights(estimator, rows, logp), score)
        mean = probability @ gradient
        return Exact(mean, float(probability @ (gradient - mean).square().sum(dim=1)))
    kind, first, share = _kinds(rows, probability, whole_rows=estimator.whole_rows)
    few, few_logp = rows.select_rows(first), logp[first]
    if estimator.greedy:
        weights = _over_greedy_scores(estimator, few, few_logp, rows, _greedy_probability(rows, chance, logits))
    else:
        weights = _over_groups(estimator, few, few_logp, share)
    return Exact(torch.einsum("b,bt,btp->p", probability, weights[kind], score), None)


def _kinds(rows: Trajectory, probability: Tensor, *, whole_rows: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Tell rows apart by all that a comparison sees; give each row's kind [N], a row of each kind and the kind's probability [L]."""
    length = rows.mask.sum(dim=1, keepdim=True).double()
    seen = torch.cat([rows.score.unsqueeze(1) if whole_rows else rows.reward, length], dim=1)
    kinds, kind = (seen * 1e9).round().unique(dim=0, return_inverse=True)
    first = torch.full((len(kinds),), len(kind)).scatter_reduce(0, kind, torch.arange(len(kind)), "amin")
    return kind, first, torch.zeros(len(kinds), dtype=torch.float64).index_add(0, kind, probability)


def _over_groups(estimator: Estimator, few: Trajectory, logp: Tensor, share: Tensor) -> Tensor:
    """Average a row's weights over all groups that it can be in, [L, T]."""
    kinds = torch.cartesian_prod(*[torch.arange(len(share))] * estimator.rows)
    groups = in_groups(few.select_rows(kinds.flatten()), estimator.rows)
    own = step_weights(estimator, groups, logp[kinds.flatten()])[:: estimator.rows]
    others = share[kinds[:, 1:]].prod(dim=1, keepdim=True)
    return torch.zeros(len(share), own.shape[1], dtype=own.dtype).index_add(0, kinds[:, 0], others * own)


def _greedy_probability(rows: Trajectory, chance: Tensor, logits: Tensor) -> Tensor:
    """Give the probability of each row under the policy that takes the most probable action, [N]."""
    assert isinstance(rows.obs, Tensor)
    best = rows.action == logits.argmax(dim=1)[rows.obs[:, :-1]]
    return chance * (best | ~rows.mask).all(dim=1)


def _over_greedy_scores(estimator: Estimator, few: Trajectory, logp: Tensor, rows: Trajectory, probability: Tensor) -> Tensor:
    """Average a row's weights over the scores of the greedy episode, [L, T]."""
    scores, place = (rows.score * 1e9).round().unique(return_inverse=True)
    share = torch.zeros(len(scores), dtype=torch.float64).index_add(0, place, probability)
    total = torch.zeros_like(logp)
    for score, part in zip(scores / 1e9, share, strict=True):
        total += part * step_weights(estimator, few.replace(baseline=score.expand(few.batch_size)), logp)
    return total


def sample_gradients(
    estimator: Estimator, world: World, logits: Tensor, behaviour: Tensor, episodes: int, generator: torch.Generator
) -> Tensor:
    """Play episodes with the older policy and give the mean gradient of each group of rows, [episodes / rows, S * A]."""
    rows = prepare(play(world, behaviour, episodes, generator), behaviour, critics_of(world, logits, behaviour)[estimator.critic])
    if estimator.rows > 1:
        rows = in_groups(rows, estimator.rows)
    if estimator.greedy:
        surely = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double().log()
        rows = rows.replace(baseline=play(world, surely, episodes, generator).score)
    weights = step_weights(estimator, rows, log_probabilities(rows, logits))
    gradient = torch.einsum("bt,btp->bp", weights, score_functions(rows, logits))
    return gradient.view(-1, estimator.rows, gradient.shape[1]).mean(dim=1)


def learning_curve(world: World, first: Tensor, step_size: float, updates: int) -> list[Tensor]:
    """Follow the exact gradient; give the logits before the first and after each update."""
    curve = [first]
    for _ in range(updates):
        curve.append(curve[-1] + step_size * exact_gradient(world, curve[-1]).view_as(first))
    return curve
