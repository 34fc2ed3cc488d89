"""Lets a policy look at images, glimpse by glimpse; what comes of it is a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True)
class GivenLocations:
    """Where a row looks first, and where it is made to look afterwards.

    Attributes:
        first: [B, 2] location of the first glimpse.
        forced: [B, N-1, 2] locations of the others, taken instead of the policy's own; None where the policy chooses.
    """

    first: Tensor
    forced: Tensor | None


def given_locations(
    looking: Looking,
    first: FirstLocation,
    cells: Tensor,
    num_rows: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> GivenLocations:
    """Say where to look, as far as the policy does not decide it.

    Args:
        looking: "learned", the policy chooses all but the first location; "random", uniformly; "centre", always there; "grid", the
            cells one after the other.
        first: "centre", "random" or "grid", the first cell; for "learned" alone.
        cells: [N, 2] what `grid` gives for the N glimpses.
        num_rows: B.
        generator: draws random locations.
        device: of the result.
    """
    kind = first if looking == "learned" else looking
    steps = 1 if looking == "learned" else cells.shape[0]
    if kind == "grid":
        locations = cells[:steps].to(device).expand(num_rows, -1, -1)
    elif kind == "centre":
        locations = torch.zeros(num_rows, steps, 2, device=device)
    else:
        source = device if generator is None else generator.device
        locations = torch.rand(num_rows, steps, 2, generator=generator, device=source).to(device).mul_(2.0).sub_(1.0)
    return GivenLocations(locations[:, 0], None if looking == "learned" else locations[:, 1:])


def grid(number: int, spacing: float = 0.0) -> Tensor:
    """Give the middles of the cells of a grid around the image's middle, the inner ones first, [number, 2].

    It is as square as `number` allows, and not wider than high: six are three rows of two. A number without divisors is one column.

    Args:
        number: of cells.
        spacing: from one cell to the next, in halves of the image's side; 0 spreads them over all of it.
    """
    columns = max(size for size in range(1, math.isqrt(number) + 1) if number % size == 0)
    rows = number // columns
    x, y = ((torch.arange(count) - (count - 1) / 2) * (spacing or 2.0 / count) for count in (columns, rows))
    cells = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)
    return cells[cells.norm(dim=1).mul(1e4).round().argsort(stable=True)]


@torch.no_grad()
def look(
    policy: GlimpsePolicy,
    retina: Retina,
    images: PreparedImages,
    given: GivenLocations,
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
        given: where to look first, and by force.
        context: "label" [B, K] long, the classes, and what else the policy starts from.
        num_glimpses: N.
        image: [B] long, each row's image; the first row's is the first when None.
        greedy: take the means of the locations.
        generator: draws the locations.

    Returns:
        The trajectory of N - 1 actions, without rewards; and the core's states after each glimpse, [N, B, H] float32.
    """
    num_rows, dtype, device = given.first.shape[0], policy.core.dtype, given.first.device
    glimpses = torch.empty(num_glimpses, num_rows, retina.num_outputs, dtype=dtype, device=device)
    locations = torch.empty(num_glimpses, num_rows, 2, dtype=dtype, device=device)
    means, actions = torch.empty(2, num_glimpses - 1, num_rows, 2, device=device)
    if given.forced is not None:
        actions.copy_(given.forced.transpose(0, 1))
    elif not greedy:
        torch.randn(actions.shape, generator=generator, out=actions).mul_(policy.log_std.exp())
    state = policy.initial_state(context)
    hidden, take = begin_to_look(policy.core, glimpses, locations, state)
    location = given.first
    for step in range(num_glimpses):
        glimpses[step] = retina.cut_prepared(images, location, image)
        locations[step] = location
        take(step)
        if step < num_glimpses - 1:
            torch.tanh(policy.raw_location(hidden[step], step), out=means[step])
            if greedy and given.forced is None:
                actions[step] = means[step]
            elif given.forced is None:
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
        mask=torch.full_like(ended, given.forced is None),
        obs={"glimpse": glimpses.transpose(0, 1), "location": locations.transpose(0, 1), "step": steps},
        context=context,
        state0=state,
    )
    return trajectory, hidden
