"""Returns and the estimates that bootstrap them: what a critic learns and what an advantage is made of.

Every function takes `terminated` and `truncated` apart: nothing of value follows a termination, while a truncation, like
the last step of a rollout, bootstraps from the value of the observation after it. No recursion flows through either, so
what stands in the steps after an end (padding, the dummy step of a vector environment), be it NaN, never reaches the
steps before it. What the functions give at such steps means nothing; mask it out. Results carry no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def discounted_return(reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    """Sum the discounted rewards until the end, bootstrapping where a row was cut short.

    G_t = r_t                  if terminated_t
    G_t = r_t + γ V_{t+1}      if truncated_t or t = T-1
    G_t = r_t + γ G_{t+1}      otherwise

    Args:
        reward: [B, T] float.
        value: [B, T+1] float, value estimates; only those after a truncation or the last step are read.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.

    Returns:
        [B, T] returns.

    Raises:
        ValueError: when the shapes do not fit or a discount is outside 0..1.

    Source: Sutton & Barto 2018 (Reinforcement learning), section 3.3; bootstrapping at time limits: Pardo et al. 2018 (Time limits in
    reinforcement learning), partial-episode bootstrapping.
    """
    _check(reward, value, terminated, truncated, gamma=gamma)
    cut = terminated | truncated
    cut[:, -1] = True
    bootstrap = torch.where(cut & ~terminated, value[:, 1:], 0.0)
    return _backward_sum(reward + gamma * bootstrap, gamma * (~cut).to(reward.dtype))


def after_end(ended: Tensor) -> Tensor:
    """Mark the steps that follow the first end of their row, [B, T] bool.

    Args:
        ended: [B, T] bool, terminated or truncated.
    """
    return ended.cumsum(dim=1) - ended.long() > 0


@torch.no_grad()
def episode_return(returns: Tensor, ended: Tensor, counted: Tensor) -> Tensor:
    """Give each step the return of the whole episode that it is a part of.

    R_t = G_{s(t)}, where s(t) is the first step that counts after the last end before t

    so that a row of several episodes credits no episode with another's rewards. Dummy steps between an end and the next step that
    counts belong to no episode. What the function gives there means nothing, as for all steps that do not count.

    Args:
        returns: [B, T] float, G, from `discounted_return`.
        ended: [B, T] bool, terminated or truncated.
        counted: [B, T] bool, True where the step belongs to an episode, chosen or demonstrated.

    Returns:
        [B, T] returns of whole episodes; the last column is the last episode's, in every row.

    Raises:
        ValueError: when the shapes differ.

    Source: Williams 1992 (Simple statistical gradient-following algorithms), episodic REINFORCE: one reinforcement an episode.
    """
    for name, flag in (("ended", ended), ("counted", counted)):
        if flag.shape != returns.shape or flag.dtype != torch.bool:
            raise ValueError(f"{name}: expected a bool tensor of shape {list(returns.shape)}, got {flag.dtype} {list(flag.shape)}")
    before = counted.cumsum(dim=1) - counted.long()  # steps that count before each
    first = torch.ones_like(ended)
    first[:, 1:] = ended[:, :-1]
    # What had counted when the present episode began: it never falls, so the largest so far is the last.
    at_start = torch.where(first, before, 0).cummax(dim=1).values
    begins = counted & (before == at_start)
    time = torch.arange(returns.shape[1], device=returns.device).expand_as(before)
    return returns.gather(1, torch.where(begins, time, 0).cummax(dim=1).values)


@torch.no_grad()
def n_step(reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, n: int) -> Tensor:
    """Sum n discounted rewards and bootstrap, earlier where the row ends earlier.

    G_t = Σ_{k<n} γ^k r_{t+k} + γ^n V_{t+n}, where the sum stops after the first end or the last step, and bootstraps there
    unless it is a termination.

    Args:
        reward: [B, T] float.
        value: [B, T+1] float, value estimates.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.
        n: number of rewards, at least 1.

    Returns:
        [B, T] targets.

    Raises:
        ValueError: when the shapes do not fit, the discount is outside 0..1 or n is below 1.

    Source: Sutton & Barto 2018 (Reinforcement learning), section 7.1.
    """
    _check(reward, value, terminated, truncated, gamma=gamma)
    if n < 1:
        raise ValueError(f"n: expected at least 1 step, got {n}")
    target = value
    for _ in range(min(n, reward.shape[1])):
        following = torch.where(truncated, value[:, 1:], target[:, 1:])
        shorter = reward + gamma * torch.where(terminated, 0.0, following)
        target = torch.cat([shorter, value[:, -1:]], dim=1)
    return target[:, :-1]


@torch.no_grad()
def gae(reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Estimate advantages as an exponentially weighted sum of temporal differences.

    δ_t = r_t + γ V_{t+1} (1 - terminated_t) - V_t
    A_t = δ_t + γ λ A_{t+1}, the second term only where t neither ends the row nor the rollout

    Args:
        reward: [B, T] float.
        value: [B, T+1] float, value estimates.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.
        gae_lambda: λ, in 0..1; 0 is the one-step advantage, 1 is return minus value.

    Returns:
        [B, T] advantages.

    Raises:
        ValueError: when the shapes do not fit or a discount or decay is outside 0..1.

    Source: Schulman et al. 2016 (High-dimensional continuous control using generalized advantage estimation), eq. 16.
    """
    _check(reward, value, terminated, truncated, gamma=gamma, gae_lambda=gae_lambda)
    delta = reward + gamma * torch.where(terminated, 0.0, value[:, 1:]) - value[:, :-1]
    return _backward_sum(delta, gamma * gae_lambda * (~(terminated | truncated)).to(reward.dtype))


@torch.no_grad()
def td_lambda(reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Mix the n-step targets of all n with geometric weights: the critic's target that belongs to `gae`.

    G_t = r_t + γ ((1 - λ) V_{t+1} + λ G_{t+1}) = A_t + V_t with A_t of `gae`

    Args:
        reward: [B, T] float.
        value: [B, T+1] float, value estimates.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.
        gae_lambda: λ, in 0..1.

    Returns:
        [B, T] targets.

    Raises:
        ValueError: when the shapes do not fit or a discount or decay is outside 0..1.

    Source: Sutton & Barto 2018 (Reinforcement learning), section 12.1.
    """
    return gae(reward, value, terminated, truncated, gamma, gae_lambda) + value[:, :-1]


@torch.no_grad()
def vtrace(
    logp_target: Tensor,
    logp_behaviour: Tensor,
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Correct value targets and advantages for actions that an older policy chose.

    ρ_t = min(ρ̄, π_t/μ_t),  c_t = min(c̄, π_t/μ_t),  δ_t = ρ_t (r_t + γ V_{t+1} - V_t)
    v_t = V_t + δ_t + γ c_t (v_{t+1} - V_{t+1})
    advantage_t = ρ_t (r_t + γ v_{t+1} - V_t)
    where V_{t+1} and v_{t+1} count as 0 after a termination, and v_{t+1} = V_{t+1} after a truncation and the last step.

    Args:
        logp_target: [B, T] log-probability of the actions under the policy being learned, nats.
        logp_behaviour: [B, T] the same under the policy that acted, nats.
        reward: [B, T] float.
        value: [B, T+1] float, value estimates.
        terminated: [B, T] bool.
        truncated: [B, T] bool.
        gamma: discount γ, in 0..1.
        rho_bar: ρ̄, largest weight of a temporal difference; sets what the values converge to.
        c_bar: c̄, largest weight of a trace; sets how fast. At most rho_bar.

    Returns:
        ([B, T] value targets v, [B, T] advantages for the policy gradient).

    Raises:
        ValueError: when the shapes do not fit, the discount is outside 0..1, or c_bar is above rho_bar.

    Source: Espeholt et al. 2018 (IMPALA), V-trace targets and the V-trace actor-critic.
    """
    _check(reward, value, terminated, truncated, gamma=gamma)
    for name, logp in (("logp_target", logp_target), ("logp_behaviour", logp_behaviour)):
        if logp.shape != reward.shape:
            raise ValueError(f"{name}: expected shape {list(reward.shape)} like reward, got {list(logp.shape)}")
    if c_bar > rho_bar:
        raise ValueError(f"c_bar: expected at most rho_bar = {rho_bar}, got {c_bar}; lower it or raise rho_bar")
    ratio = (logp_target - logp_behaviour).exp()
    rho, c = ratio.clamp(max=rho_bar), ratio.clamp(max=c_bar)
    now, after = value[:, :-1], torch.where(terminated, 0.0, value[:, 1:])
    delta = rho * (reward + gamma * after - now)
    ended = terminated | truncated
    correction = _backward_sum(delta, torch.where(ended, 0.0, gamma * c))
    later = torch.cat([correction[:, 1:], torch.zeros_like(correction[:, :1])], dim=1)
    target_after = after + torch.where(ended, 0.0, later)
    return now + correction, rho * (reward + gamma * target_after - now)


def _backward_sum(term: Tensor, decay: Tensor) -> Tensor:
    """x_t = term_t + decay_t x_{t+1} with x_T = 0; a decay of 0 lets nothing through, NaN neither.

    By doubling, in log2(T) steps instead of T: when `total` holds the first n terms of each sum, and `reach` the product of
    the n decays after which the next term comes in, then total_t + reach_t total_{t+n} holds the first 2n.
    """
    total, reach, span = term.clone(), decay[:, :-1], 1
    while span < term.shape[1]:
        closed = reach == 0
        total[:, :-span] += (reach * total[:, span:]).masked_fill(closed, 0.0)
        reach = (reach[:, :-span] * reach[:, span:]).masked_fill(closed[:, :-span], 0.0)
        span *= 2
    return total


def _check(reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, **fractions: float) -> None:
    """Compare shapes, types and ranges with what every return expects."""
    if reward.ndim != 2 or reward.shape[1] < 1:
        raise ValueError(f"reward: expected shape [B, T] with T >= 1, got {list(reward.shape)}")
    B, T = reward.shape
    if tuple(value.shape) != (B, T + 1):
        raise ValueError(f"value: expected shape [B, T+1] = {[B, T + 1]}, got {list(value.shape)}; append the value after the last step")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if tuple(flag.shape) != (B, T) or flag.dtype != torch.bool:
            raise ValueError(f"{name}: expected a bool tensor of shape {[B, T]}, got {flag.dtype} {list(flag.shape)}")
    for name, fraction in fractions.items():
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"{name}: expected a number in 0..1, got {fraction}")
