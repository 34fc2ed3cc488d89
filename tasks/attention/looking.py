"""Lets a policy look at images, glimpse by glimpse; what comes of it is a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqrl.distributions import Gaussian
from seqrl.trajectory import Trajectory
from tasks.attention.policy import GlimpsePolicy
from tasks.attention.retina import PreparedImages, Retina

Looking = Literal["learned", "random", "centre", "grid"]
FirstLocation = Literal["centre", "random"]


@dataclass(frozen=True)
class Place:
    """Where a row looks first, and where it is made to look afterwards.

    Attributes:
        first: [B, 2] location of the first glimpse.
        forced: [B, N-1, 2] locations of the others, taken instead of the policy's own; None where the policy chooses.
    """

    first: Tensor
    forced: Tensor | None


def choose_places(
    looking: Looking, first: FirstLocation, num_rows: int, num_glimpses: int, generator: torch.Generator | None, device: torch.device
) -> Place:
    """Say where to look, as far as the policy does not decide it.

    Args:
        looking: "learned", the policy chooses all but the first location; "random", uniformly; "centre", always there; "grid", the
            middles of a grid's cells row by row.
        first: "centre" or "random", for "learned" alone.
        num_rows: B.
        num_glimpses: N.
        generator: draws random locations.
        device: of the result.
    """
    if looking == "grid":
        locations = grid(num_glimpses).to(device).expand(num_rows, -1, -1)
    elif looking == "centre":
        locations = torch.zeros(num_rows, num_glimpses, 2, device=device)
    else:
        steps = num_glimpses if looking == "random" else 1
        source = device if generator is None else generator.device
        drawn = looking == "random" or first == "random"
        uniform = torch.rand(num_rows, steps, 2, generator=generator, device=source).to(device).mul_(2.0).sub_(1.0) if drawn else None
        locations = torch.zeros(num_rows, steps, 2, device=device) if uniform is None else uniform
    return Place(locations[:, 0], None if looking == "learned" else locations[:, 1:])


def grid(number: int) -> Tensor:
    """Give the middles of the cells of a grid over the image, as square as `number` allows, [number, 2].

    Six are two rows of three. A number without divisors is one row.
    """
    rows = max(size for size in range(1, math.isqrt(number) + 1) if number % size == 0)
    columns = number // rows
    x, y = ((2.0 * torch.arange(count) + 1.0) / count - 1.0 for count in (columns, rows))
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)


@torch.no_grad()
def look(
    policy: GlimpsePolicy,
    retina: Retina,
    images: PreparedImages,
    place: Place,
    label: Tensor,
    *,
    num_glimpses: int,
    image: Tensor | None = None,
    group: Tensor | None = None,
    greedy: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Trajectory, Tensor]:
    """Take N glimpses of each row's image.

    It does what `seqrl.rollout.unroll` would do with the policy, but the weights are brought into their number format once, and
    all that no glimpse waits for, such as the values, is computed for all of them together.

    Args:
        policy: acts without gradients.
        retina: cuts the glimpses.
        images: what `retina.prepare` made of the images.
        place: where to look first, and by force.
        label: [B, K] long, the classes.
        num_glimpses: N.
        image: [B] long, each row's image; the first row's is the first when None.
        group: [B] kept in the trajectory.
        greedy: take the means of the locations.
        generator: draws the locations.

    Returns:
        The trajectory of N - 1 actions, without rewards; and the logits after each glimpse, [B, N, C] float32.
    """
    num_rows, dtype, device = place.first.shape[0], policy.core.dtype, place.first.device
    glimpses = torch.empty(num_glimpses, num_rows, retina.num_outputs, dtype=dtype, device=device)
    locations = torch.empty(num_glimpses, num_rows, 2, dtype=dtype, device=device)
    hidden = torch.empty(num_glimpses, num_rows, policy.config.hidden_units, device=device)
    means, actions = torch.empty(2, num_glimpses - 1, num_rows, 2, device=device)
    if place.forced is not None:
        actions.copy_(place.forced.transpose(0, 1))
    elif not greedy:
        torch.randn(actions.shape, generator=generator, out=actions).mul_(policy.log_std.exp())
    take = policy.core.begin(glimpses, locations)
    location = place.first
    for step in range(num_glimpses):
        glimpses[step] = retina.cut_prepared(images, location, image)
        locations[step] = location
        take(step, hidden[step])
        if step < num_glimpses - 1:
            means[step] = mean = policy.mean_location(hidden[step])
            if greedy and place.forced is None:
                actions[step] = mean
            elif place.forced is None:
                actions[step] += mean
            location = actions[step].clamp(-1.0, 1.0)
    logits = policy.classify(hidden.transpose(0, 1))
    return _trajectory(policy, glimpses, locations, hidden, means, actions, label, group, place.forced is None), logits


def _trajectory(
    policy: GlimpsePolicy,
    glimpses: Tensor,
    locations: Tensor,
    hidden: Tensor,
    means: Tensor,
    actions: Tensor,
    label: Tensor,
    group: Tensor | None,
    chosen: bool,
) -> Trajectory:
    """Put the steps side by side, and add what the policy thinks of them."""
    action = actions.transpose(0, 1)
    num_rows, num_actions = action.shape[:2]
    terminated = torch.zeros(num_rows, num_actions, dtype=torch.bool, device=action.device)
    nowhere = torch.zeros_like(terminated)
    terminated[:, -1] = True
    return Trajectory(
        action=action,
        logp=Gaussian(means.transpose(0, 1), policy.log_std).logp(action),
        value=policy.critic(hidden).squeeze(-1).t(),
        reward=torch.zeros(num_rows, num_actions, device=action.device),
        terminated=terminated,
        truncated=nowhere,
        mask=torch.full_like(terminated, chosen),
        obs={"glimpse": glimpses.transpose(0, 1), "location": locations.transpose(0, 1)},
        context={"label": label},
        group=group,
        state0=policy.core.empty(num_rows),
    )
