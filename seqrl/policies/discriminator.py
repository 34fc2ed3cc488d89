"""Tells an expert's steps from a policy's, by what was seen and done."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.actor_critic import ActionSize, split_observation
from seqrl.policies.encoders import Inputs, ObservationSize
from seqrl.policies.networks import MLP
from seqrl.trajectory import Evaluation, Trajectory, map_tree


class Discriminator(nn.Module):
    """Gives f(s, a), with D(s, a) = 1 / (1 + exp(-f(s, a))) the probability that the step is the expert's.

    Numbers that are seen are scaled by their running mean and deviation, choices are one-hot. Continuous actions are clipped to the
    environment's bounds, beyond which it does not tell them apart: else an expert at a bound would be told by that alone.

    Args:
        observation: what one observation looks like; numbers or a category, no pictures.
        actions: what one action looks like.
        hidden_sizes: sizes of the layers between.
        generator: draws the initial weights.
    """

    low: Tensor
    high: Tensor

    def __init__(self, observation: ObservationSize, actions: ActionSize, hidden_sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.inputs = Inputs(observation, normalise=not observation.num_categories)
        self.actions = actions
        bounds = torch.tensor(actions.bounds or [(-torch.inf, torch.inf)] * actions.num_dimensions).view(-1, 2)
        self.register_buffer("low", bounds[:, 0], persistent=False)
        self.register_buffer("high", bounds[:, 1], persistent=False)
        self.layers = MLP(observation.num_inputs + actions.num_outputs, hidden_sizes, 1, generator=generator)

    def observe(self, rows: Trajectory) -> None:
        """Count what is seen before the steps that count, for the scale of what follows."""
        if self.inputs.norm is not None:
            self.inputs.observe(split_observation(rows.obs)[0], rows.counted)
            self.inputs.norm.fold()

    def features(self, rows: Trajectory) -> Tensor:
        """Give what is seen and done at each step as numbers, [B, T, N]."""
        obs = map_tree(lambda leaf: leaf[:, :-1], rows.obs)
        return torch.cat([self.inputs(split_observation(obs)[0]), self._done(rows.action)], dim=2)

    def forward(self, rows: Trajectory) -> Evaluation:
        """Give f [B, T] as `logp`, which is the logarithm of the odds that a step is the expert's."""
        f = self.layers(self.features(rows)).squeeze(-1).float()
        return Evaluation(f, torch.zeros_like(f), torch.zeros_like(f))

    def penalty(self, rows: Trajectory) -> Tensor:
        """Give the squared norm of the gradient of f at each step's features, [B, T]."""
        x = self.features(rows).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.layers(x).sum(), x, create_graph=True)
        return slope.square().sum(dim=2)

    def _done(self, action: Tensor) -> Tensor:
        sizes = self.actions.choices or ((self.actions.num_actions,) if self.actions.num_actions else ())
        columns = action.unsqueeze(-1) if action.ndim == 2 else action
        chosen = [F.one_hot(columns[..., index].long(), size).float() for index, size in enumerate(sizes)]
        return torch.cat([*chosen, columns[..., len(sizes) :].float().clamp(self.low, self.high)], dim=-1)
