"""Exact means of the policy gradient's estimators, over all episodes of a small world or all groups of them, and sampled ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from corridor import World, every_episode, log_probabilities, play, score_functions, state_values, visits
from estimators import Critic, Estimator
from torch import Tensor

from seqrl.functional.reductions import masked_mean
from seqrl.trajectory import Trajectory

WRONG_BY = 0.5  # what the wrong critic's values are off by, up in one cell and down in the next one


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
