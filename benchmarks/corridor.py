"""A corridor small enough to write down every episode that can happen in it, with exact values, gradients and probabilities.

Four cells, the robot starts in the second one. It steps left or right and slips the other way with probability 0.2. A step costs 0.1, a
step into the third cell earns 0.3, leaving on the left earns 0.4, leaving on the right 2. After six steps the episode is over.

Everything is float64. What is summed over all episodes (`every_episode`) and what dynamic programming says (`state_values`,
`exact_gradient`) are computed in two ways that share no code but the world itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.trajectory import Trajectory

SLIP, STEP_COST, PRIZE, LEFT, RIGHT = 0.2, 0.1, 0.3, 0.4, 2.0
CELLS, START, PRIZE_CELL, HORIZON = 4, 1, 2, 6


@dataclass(frozen=True)
class World:
    """An episodic Markov decision process with O possible outcomes of each action.

    Attributes:
        chance: [S, A, O] float64, probability of an outcome.
        following: [S, A, O] integer, the next state.
        reward: [S, A, O] float64.
        ends: [S, A, O] bool.
        start: first state.
        horizon: T, steps after which every episode is over.
    """

    chance: Tensor
    following: Tensor
    reward: Tensor
    ends: Tensor
    start: int
    horizon: int


def corridor(horizon: int = HORIZON) -> World:
    """Build the corridor; action 0 is left, 1 right, and the second outcome of each is the slip."""
    step = torch.tensor([[-1, 1], [1, -1]])  # [A, O]
    place = torch.arange(CELLS)[:, None, None] + step
    left, right = place < 0, place >= CELLS
    reward = -STEP_COST + PRIZE * (place == PRIZE_CELL).double() + LEFT * left.double() + RIGHT * right.double()
    chance = torch.tensor([1 - SLIP, SLIP], dtype=torch.float64).expand(CELLS, 2, 2)
    return World(chance, place.clamp(0, CELLS - 1), reward, left | right, START, horizon)


def every_episode(world: World) -> tuple[Trajectory, Tensor]:
    """Write down all N episodes that can happen, whatever the policy.

    Returns:
        (N rows whose log-probabilities and values are 0, [N] product of the probabilities of the outcomes alone).
    """
    S, A, O = world.chance.shape  # noqa: E741 (the number of outcomes)
    row, chance = torch.full((1, 1), world.start), torch.ones(1, dtype=torch.float64)
    action = reward = ended = torch.zeros(1, 0)
    over = torch.zeros(1, dtype=torch.bool)
    for t in range(world.horizon):
        # An episode that goes on becomes A * O, one that is over stays one and is padded.
        copies = torch.where(over, 1, A * O)
        place = torch.arange(int(copies.sum())) - torch.repeat_interleave(copies.cumsum(0) - copies, copies)
        row, chance, action, reward, ended, over = (
            torch.repeat_interleave(tensor, copies, dim=0) for tensor in (row, chance, action, reward, ended, over)
        )
        what = (row[:, -1], place // O, place % O)
        lives = ~over
        ends = lives & (world.ends[what] | (t == world.horizon - 1))
        row = torch.cat([row, torch.where(lives, world.following[what], row[:, -1])[:, None]], dim=1)
        chance = torch.where(lives, chance * world.chance[what], chance)
        action = torch.cat([action, torch.where(lives, what[1], 0)[:, None]], dim=1)
        reward = torch.cat([reward, torch.where(lives, world.reward[what], 0.0)[:, None]], dim=1)
        ended, over = torch.cat([ended, ends[:, None]], dim=1), over | ends
    return _rows(row, action.long(), reward.double(), ended.bool()), chance


def play(world: World, logits: Tensor, count: int, generator: torch.Generator) -> Trajectory:
    """Play episodes with the policy softmax(logits[s]); rows as `every_episode` gives them."""
    state, over = torch.full((count,), world.start), torch.zeros(count, dtype=torch.bool)
    states, columns = [state], []
    for t in range(world.horizon):
        action = torch.multinomial(logits.softmax(dim=1)[state], 1, generator=generator).squeeze(1)
        outcome = torch.multinomial(world.chance[state, action], 1, generator=generator).squeeze(1)
        what = (state, action, outcome)
        ends = ~over & (world.ends[what] | (t == world.horizon - 1))
        columns.append((torch.where(over, 0, action), torch.where(over, 0.0, world.reward[what]), ends))
        state, over = torch.where(over, state, world.following[what]), over | ends
        states.append(state)
    return _rows(torch.stack(states, dim=1), *(torch.stack(column, dim=1) for column in zip(*columns, strict=True)))


def _rows(state: Tensor, action: Tensor, reward: Tensor, ended: Tensor) -> Trajectory:
    """Make rows of what happened; steps after the end do not count."""
    zero = torch.zeros_like(reward)
    return Trajectory(
        action=action,
        logp=zero,
        value=torch.zeros(state.shape, dtype=reward.dtype),
        reward=reward,
        terminated=ended,
        truncated=torch.zeros_like(ended),
        mask=ended.long().cumsum(dim=1) - ended.long() == 0,
        obs=state,
    )


def state_values(world: World, logits: Tensor, gamma: float = 1.0) -> Tensor:
    """Look back from the end: V_t(s) = Σ_a π(a | s) Σ_o P(o | s, a) (r + γ V_{t+1}(s')), V_T = 0; differentiable.

    Args:
        world: see `World`.
        logits: [S, A].
        gamma: discount γ.

    Returns:
        [T + 1, S], of each time and state.
    """
    policy, values = logits.softmax(dim=1), [torch.zeros(world.chance.shape[0], dtype=torch.float64)]
    for _ in range(world.horizon):
        after = torch.where(world.ends, 0.0, values[0][world.following])
        values.insert(0, (policy * (world.chance * (world.reward + gamma * after)).sum(dim=2)).sum(dim=1))
    return torch.stack(values)


def exact_gradient(world: World, logits: Tensor) -> Tensor:
    """Differentiate the expected undiscounted return, [S * A], by dynamic programming and autograd."""
    free = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(state_values(world, free)[0, world.start], free)
    return gradient.flatten()


def visits(world: World, logits: Tensor) -> Tensor:
    """Give the probability of being in each state at each time with the episode still going on, [T, S]."""
    here = torch.zeros(world.chance.shape[0], dtype=torch.float64)
    here[world.start] = 1.0
    columns = []
    for _ in range(world.horizon):
        columns.append(here)
        flow = here[:, None, None] * logits.softmax(dim=1)[:, :, None] * world.chance * ~world.ends
        here = torch.zeros_like(here).index_add(0, world.following.flatten(), flow.flatten())
    return torch.stack(columns)


def log_probabilities(rows: Trajectory, logits: Tensor) -> Tensor:
    """Give log π(a_t | s_t), [B, T]; 0 at steps that do not count."""
    assert isinstance(rows.obs, Tensor)
    logp = logits.log_softmax(dim=1)[rows.obs[:, :-1], rows.action]
    return torch.where(rows.mask, logp, 0.0)


def score_functions(rows: Trajectory, logits: Tensor) -> Tensor:
    """Give ∇ log π(a_t | s_t) by the logits, written out, [B, T, S * A]: 1[a] - π(a | s) in the row of s, 0 elsewhere."""
    assert isinstance(rows.obs, Tensor)
    S, A = logits.shape
    state = rows.obs[:, :-1]
    inside = torch.nn.functional.one_hot(rows.action, A).to(logits.dtype) - logits.softmax(dim=1)[state]
    table = torch.nn.functional.one_hot(state, S).to(logits.dtype).unsqueeze(3) * inside.unsqueeze(2)
    return torch.where(rows.mask[..., None], table.flatten(2), 0.0)


def quietest_constant(world: World, logits: Tensor) -> float:
    """Give the constant baseline of least variance, b = E[|s|² R] / E[|s|²] with s = Σ_t ∇ log π(a_t | s_t) and R the score.

    Source: Greensmith et al. 2004 (Variance reduction techniques for gradient estimates in reinforcement learning), constant baselines.
    """
    rows, chance = every_episode(world)
    probability = chance * log_probabilities(rows, logits).sum(dim=1).exp()
    weight = probability * score_functions(rows, logits).sum(dim=1).square().sum(dim=1)
    return float(weight @ rows.score / weight.sum())


def learning_curve(world: World, first: Tensor, step_size: float, updates: int) -> list[Tensor]:
    """Follow the exact gradient; give the logits before the first and after each update."""
    curve = [first]
    for _ in range(updates):
        curve.append(curve[-1] + step_size * exact_gradient(world, curve[-1]).view_as(first))
    return curve
