"""Lets a policy look at images, glimpse by glimpse; what comes of it is a trajectory."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from seqrl.distributions import Gaussian
from seqrl.tasks.attention.cores import begin_to_look
from seqrl.tasks.attention.policy import GlimpsePolicy
from seqrl.tasks.attention.retina import PreparedImages, Retina
from seqrl.trajectory import Trajectory, Tree

Looking = Literal["learned", "random", "centre", "grid"]
FirstLocation = Literal["centre", "random", "grid"]


def given_locations(
    looking: Looking,
    first: FirstLocation,
    cells: Tensor,
    num_rows: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """Say where to look, as far as the policy does not decide it.

    Args:
        looking: "learned", the policy chooses all but the first location; "random", uniformly; "centre", always there; "grid", the
            cells one after the other.
        first: "centre", "random" or "grid", the first cell; for "learned" alone.
        cells: [N, 2] what `grid` gives for the N glimpses.
        num_rows: B.
        generator: draws random locations.
        device: of the result.

    Returns:
        [B, 1, 2] the first location, or [B, N, 2] all of them, where the policy chooses none.
    """
    kind = first if looking == "learned" else looking
    steps = 1 if looking == "learned" else cells.shape[0]
    if kind == "grid":
        return cells[:steps].to(device).expand(num_rows, -1, -1)
    if kind == "centre":
        return torch.zeros(num_rows, steps, 2, device=device)
    source = device if generator is None else generator.device
    return torch.rand(num_rows, steps, 2, generator=generator, device=source).to(device).mul_(2.0).sub_(1.0)


def grid(number: int, spacing: float = 0.0) -> Tensor:
    """Give the middles of the cells of a grid around the image's middle, the inner ones first, [number, 2].

    It is as square as `number` allows, and not wider than high: six are three rows of two. Of a number above three that has no divisors
    it is the grid of one more, without an outermost cell.

    Args:
        number: of cells.
        spacing: from one cell to the next, in halves of the image's side; 0 spreads them over all of it.
    """
    columns = max(size for size in range(1, math.isqrt(number) + 1) if number % size == 0)
    if columns == 1 and number > 3:
        return grid(number + 1, spacing)[:number]
    rows = number // columns
    x, y = ((torch.arange(count) - (count - 1) / 2) * (spacing or 2.0 / count) for count in (columns, rows))
    cells = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)
    return cells[cells.norm(dim=1).mul(1e4).round().argsort(stable=True)]


@torch.no_grad()
def look(
    policy: GlimpsePolicy,
    retina: Retina,
    images: PreparedImages,
    given: Tensor,
    context: Tree,
    *,
    num_glimpses: int,
    image: Tensor | None = None,
    greedy: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Trajectory, Tensor]:
    """Take N glimpses of each row's image.

    It does what `seqrl.rollout.unroll` would do with the policy, but the weights are brought into their dtype once, and
    all that no glimpse waits for, such as the values, is computed for all of them together.

    Args:
        policy: acts without gradients.
        retina: cuts the glimpses.
        images: what `retina.prepare` made of the images.
        given: what `given_locations` says.
        context: "label" [B, K] long, the classes, and what else the policy starts from.
        num_glimpses: N.
        image: [B] long, each row's image; the first row's is the first when None.
        greedy: take the means of the locations.
        generator: draws the locations.

    Returns:
        The trajectory of N - 1 actions, without rewards; and the core's states after each glimpse, [N, B, H] float32.
    """
    num_rows, dtype, device, chosen = len(given), policy.core.dtype, given.device, given.shape[1] == 1
    glimpses = torch.empty(num_glimpses, num_rows, retina.num_outputs, dtype=dtype, device=device)
    locations = torch.empty(num_glimpses, num_rows, 2, dtype=dtype, device=device)
    means, actions = torch.empty(2, num_glimpses - 1, num_rows, 2, device=device)
    if not chosen:
        actions.copy_(given[:, 1:].transpose(0, 1))
    elif not greedy:
        torch.randn(actions.shape, generator=generator, out=actions).mul_(policy.log_std.exp())
    state = policy.initial_state(context)
    hidden, take = begin_to_look(policy.core, glimpses, locations, state)
    location = given[:, 0]
    for step in range(num_glimpses):
        glimpses[step] = retina.cut_prepared(images, location, image)
        locations[step] = location
        take(step)
        if step < num_glimpses - 1:
            torch.tanh(policy.raw_location(hidden[step], step), out=means[step])
            if greedy and chosen:
                actions[step] = means[step]
            elif chosen:
                actions[step] += means[step]
            location = actions[step].clamp(-1.0, 1.0)
    steps = torch.arange(num_glimpses, device=device).expand(num_rows, -1)
    ended = steps[:, 1:] == num_glimpses - 1
    action = actions.transpose(0, 1)
    trajectory = Trajectory(
        action=action,
        logp=Gaussian(means.transpose(0, 1), policy.log_std).logp(action),
        value=policy.value(hidden).t(),
        reward=torch.zeros(ended.shape, device=device),
        terminated=ended,
        truncated=torch.zeros_like(ended),
        mask=torch.full_like(ended, chosen),
        obs={"glimpse": glimpses.transpose(0, 1), "location": locations.transpose(0, 1), "step": steps},
        context=context,
        state0=state,
    )
    return trajectory, hidden
