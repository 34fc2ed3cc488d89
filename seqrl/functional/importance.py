"""Returns of one policy from what another has done: ratios of probabilities, and what they weigh."""

from __future__ import annotations

import torch
from torch import Tensor

from seqrl.functional import returns


def cumulative_ratio(ratio: Tensor, ended: Tensor) -> Tensor:
    """Multiply the ratios from the start of each episode, or of the row, up to each step.

    w_t = rho_t w_{t-1}, with 1 in the place of w_{t-1} at the first step and after an end.

    Args:
        ratio: [B, T] pi / mu of the actions; 1 at steps that do not count.
        ended: [B, T] bool, terminated or truncated.
    """
    weight, columns = torch.ones_like(ratio[:, 0]), []
    for t in range(ratio.shape[1]):
        columns.append(weight * ratio[:, t])
        weight = torch.where(ended[:, t], 1.0, columns[-1])
    return torch.stack(columns, dim=1)


def row_ratio(logp: Tensor, behaviour_logp: Tensor, mask: Tensor) -> Tensor:
    """Say how much likelier each row is under the policy being learned than under the one that sampled it, [B].

    w = prod_t pi(a_t | s_t) / mu(a_t | s_t) over the steps that count; E_mu[w f] = E_pi[f] for whatever f is of a row.

    Args:
        logp: [B, T] under pi, nats; no gradient flows into the ratio.
        behaviour_logp: [B, T] under mu, nats.
        mask: [B, T] bool.
    """
    return torch.where(mask, logp.detach() - behaviour_logp, 0.0).sum(dim=1).exp()


def per_decision_return(reward: Tensor, weight: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    """Sum the discounted rewards, each times the weight of the decisions up to it: sum_{k >= t} gamma^(k-t) w_k r_k.

    Args:
        reward: r, [B, T].
        weight: w, [B, T].
        value: [B, T+1], the bootstrap where a row was cut short.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ.

    Source: Precup et al. 2000 (Eligibility traces for off-policy policy evaluation), per-decision estimator.
    """
    bootstrap = torch.cat([value[:, :1], weight * value[:, 1:]], dim=1)
    return returns.discounted_return(weight * reward, bootstrap, terminated, truncated, gamma)


def corrected_return(reward: Tensor, ratio: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    """Estimate the return of an action under pi: G_t = r_t + gamma rho_{t+1} G_{t+1}, bootstrapped where a row was cut short.

    Args:
        reward: r, [B, T].
        ratio: rho, [B, T].
        value: [B, T+1].
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ.
    """
    cut = terminated | truncated
    after = torch.where(terminated, 0.0, value[:, 1:])
    total, columns = after[:, -1], []
    for t in range(reward.shape[1] - 1, -1, -1):
        total = reward[:, t] + gamma * torch.where(cut[:, t], after[:, t], total)
        columns.append(total)
        total = ratio[:, t] * total
    return torch.stack(columns[::-1], dim=1)


def per_row_mean(weight: Tensor, ended: Tensor, rows: Tensor) -> Tensor:
    """Average weights over the rows, [T]; a row that has ended keeps its last weight, so that the mean is 1 in expectation.

    Args:
        weight: [B, T] of rows with one episode each.
        ended: [B, T] bool.
        rows: [B] bool, those that count; all where none does.

    Source: Precup et al. 2000 (Eligibility traces for off-policy policy evaluation), weighted per-decision estimator.
    """
    last = (weight * ended).sum(dim=1, keepdim=True)
    everything = torch.where(returns.after_end(ended), last, weight)
    return everything[rows if bool(rows.any()) else ~rows].mean(dim=0)
