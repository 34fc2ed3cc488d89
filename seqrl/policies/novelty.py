"""What tells new things from those seen before: visits counted, a density with the counts that it implies, a network that is foretold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.functional.bonuses import FEW_VISITS, count_bonus, pseudo_count
from seqrl.functional.shaping import Moments, merge_moments, moments_of, running_return, scale_reward
from seqrl.padding import silenced_end
from seqrl.policies.actor_critic import split_observation
from seqrl.policies.encoders import Inputs, ObservationSize, Trunk
from seqrl.policies.networks import MLP
from seqrl.trajectory import Evaluation, Trajectory

# Beyond so many deviations numbers fall into the outermost bin, or are cut off (Burda et al. 2019, section 2.4).
WIDEST = 3.0
CUT = 5.0


def led_to(rows: Trajectory) -> Tensor:
    """Give what each step of rows led to, [B, T, ...], without masks of actions."""
    return split_observation(silenced_end(rows.obs, rows.terminated))[0][:, 1:]


class VisitCounts(nn.Module):
    """Counts the visits of numbered states, in all processes together: the bonus of a step is 1 / √N(s') of the state that it led to.

    Args:
        num_states: S.
    """

    visits: Tensor

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.register_buffer("visits", torch.zeros(num_states, dtype=torch.float64))

    def observe(self, rows: Trajectory) -> dict[str, float]:
        """Count what the steps that count led to; give what to log."""
        seen = led_to(rows)[rows.mask]
        new = torch.bincount(seen.long(), minlength=len(self.visits)).to(self.visits)
        self.visits += distributed.summed(new)
        return {"explore/states_visited": float((self.visits > 0).sum())}

    def bonus(self, rows: Trajectory) -> Tensor:
        """Give the bonus of each step, [B, T]."""
        return count_bonus(self.visits[led_to(rows).long()].clamp(min=1.0)).float()


class DensityCounts(nn.Module):
    """Counts by ρ(x) = Π_d n(x_d) / n, the product of how often each number of an observation was where it is: the bonus of a step is
    1 / √(N(x') + 0.01) with the pseudo-count N of what it led to.

    Numbers are put into bins of one width, between -3 and 3 deviations around the mean of the first rollout, which stay as they are from
    then on. A numbered state is one number with a bin for each state, and N its count.

    Args:
        observation: what one observation looks like; numbers or a category, no pictures.
        num_bins: K of each number; of no effect on categories.

    Source: Bellemare et al. 2016 (Unifying count-based exploration and intrinsic motivation), sections 3 and 5.
    Differs from: the paper, in a density of numbers that know nothing of each other, for its model of neighbouring pixels.
    """

    visits: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, observation: ObservationSize, num_bins: int) -> None:
        super().__init__()
        self.inputs = None if observation.num_categories else Inputs(observation, normalise=True)
        size = (1, observation.num_categories) if observation.num_categories else (observation.num_inputs, num_bins)
        self.register_buffer("visits", torch.zeros(size, dtype=torch.float64))

    def observe(self, rows: Trajectory) -> dict[str, float]:
        """Count what the steps that count led to; give what to log."""
        if self.inputs is not None and self.inputs.norm is not None and not float(self.inputs.norm.count):
            self.inputs.observe(split_observation(rows.obs)[0], rows.mask)
            self.inputs.norm.fold()
        bins = self._bins(rows)[rows.mask]
        new = torch.stack([torch.bincount(column, minlength=self.visits.shape[1]) for column in bins.unbind(dim=1)])
        self.visits += distributed.summed(new.to(self.visits))
        return {}

    def bonus(self, rows: Trajectory) -> Tensor:
        """Give the bonus of each step, [B, T]."""
        return count_bonus(self.count(rows), smoothing=FEW_VISITS).float()

    def count(self, rows: Trajectory) -> Tensor:
        """Give the pseudo-count of what each step led to, [B, T]."""
        number = self.visits[0].sum()
        met = self.visits.gather(1, self._bins(rows).flatten(0, 1).T).T.view(*rows.mask.shape, -1)
        logp, logp_after = ((met + more).log().sum(dim=-1) - met.shape[-1] * (number + more).log() for more in (0, 1))
        return pseudo_count(logp, logp_after)

    def _bins(self, rows: Trajectory) -> Tensor:
        """Give the bin of each number, long [B, T, D]."""
        seen = led_to(rows)
        if self.inputs is None:
            return seen.long().unsqueeze(-1)
        num_bins = self.visits.shape[1]
        share = (self.inputs(seen) + WIDEST) / (2 * WIDEST)
        return (share * num_bins).floor().clamp(0, num_bins - 1).long()


class RandomDistillation(nn.Module):
    """Learns to foretell a network that stays at its random first weights: the bonus of a step is how badly it
    does for what the step led to.

    b(x') = |f̂(x') - f(x')|² / d, divided by the running deviation of the sums Σ_k γ^k b_{t-k}, which do not end with episodes.

    Observations are scaled by their running mean and deviation and cut off at 5 deviations.

    Args:
        observation: what one observation looks like.
        hidden_sizes: of both networks' layers between.
        num_features: d, outputs of both.
        gamma: γ of these sums, per step.
        generator: draws the weights.

    Source: Burda et al. 2019 (Exploration by random network distillation), sections 2.2 and 2.4.
    Differs from: the paper, in sums that begin anew with each rollout, for they only give a scale.
    """

    def __init__(
        self, observation: ObservationSize, hidden_sizes: Sequence[int], num_features: int, gamma: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        scaled = not (observation.num_categories or observation.convolved)
        self.inputs, self.gamma, self.moments = Inputs(observation, normalise=scaled), gamma, Moments()
        self.target = _features(observation, hidden_sizes, num_features, generator).requires_grad_(False)
        self.predictor = _features(observation, hidden_sizes, num_features, generator)

    def observe(self, rows: Trajectory) -> dict[str, float]:
        """Look at what is seen before the steps that count, for the scale of what follows; give what to log."""
        if self.inputs.norm is not None:
            self.inputs.observe(split_observation(rows.obs)[0], rows.mask)
            self.inputs.norm.fold()
        return {}

    @torch.no_grad()
    def bonus(self, rows: Trajectory) -> Tensor:
        """Give the bonus of each step, [B, T], and let it count for the scale."""
        error = torch.where(rows.mask, self(rows).logp, 0.0)
        total, _ = running_return(error, torch.zeros_like(rows.mask), self.gamma, torch.zeros_like(error[:, 0]))
        sample = moments_of(total, rows.mask)
        for part in distributed.from_all((sample.count, sample.mean, sample.variance)):
            self.moments = merge_moments(self.moments, Moments(*part))
        return scale_reward(error, self.moments)

    def forward(self, rows: Trajectory) -> Evaluation:
        """Give the error of each step, [B, T], as `logp`."""
        x = self.inputs(led_to(rows))
        if self.inputs.norm is not None:
            x = x.clamp(-CUT, CUT)
        with torch.no_grad():
            target = self.target(x)
        error = (self.predictor(x) - target).square().mean(dim=-1).float()
        return Evaluation(error, torch.zeros_like(error), torch.zeros_like(error))

    def get_extra_state(self) -> Tensor:
        """Give the moments of the sums, to be saved with the weights."""
        return torch.tensor([self.moments.count, self.moments.mean, self.moments.variance], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Go back to saved moments."""
        self.moments = Moments(*state.tolist())


class _Features(nn.Module):
    """A trunk under a layer."""

    def __init__(self, trunk: Trunk, head: MLP) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(self.trunk(x)[0])
        return features


def _features(observation: ObservationSize, hidden_sizes: Sequence[int], num_features: int, generator: torch.Generator) -> _Features:
    trunk = Trunk(observation, hidden_sizes, "none", 0, activation=torch.relu, generator=generator)
    return _Features(trunk, MLP(trunk.num_outputs, [], num_features, generator=generator))
