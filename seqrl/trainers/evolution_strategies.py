"""Evolution strategies (Salimans et al. 2017): perturb the weights, play, and move towards what scored well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn

from seqrl.auxiliary import has_aux_loss
from seqrl.diagnostics import PolicyStats, describe_rollout, read
from seqrl.functional.ranks import centred_ranks
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.protocols import Task
from seqrl.requirements import require_whole_rows
from seqrl.settings import Limit, Positive, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Trajectory, concatenate

Even = Annotated[int, Limit("an even number of at least 2", lambda value: value >= 2 and value % 2 == 0)]


@dataclass
class EvolutionStrategiesConfig:
    """Settings of evolution strategies.

    Attributes:
        population_size: perturbed policies an update, in mirrored pairs.
        sigma: deviation of what is added to each weight.
        greedy: let members take their most probable actions, so that scores tell of the weights alone; else they sample.
        optimiser: see `OptimiserConfig`.
    """

    population_size: Even = 32
    sigma: Positive = 0.1
    greedy: bool = True
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> EvolutionStrategies:
        """Make the trainer."""
        return EvolutionStrategies(policy, self, seed=seed, num_updates=num_updates)


class EvolutionStrategies:
    """Follows the gradient of E[F(θ + σ ε)] over ε ~ N(0, I), which needs no gradient of the policy.

    g = 1 / (n σ) Σ_i u_i ε_i, over n members in pairs with ε and -ε, where u_i is the centred rank of member i's score F_i, the mean
    over its rows.

    A policy's own auxiliary loss is learned beside it, by its gradient, on all rows.

    A member is named by the number that its noise is drawn from anew, twice the seed and 1 more for -ε; its rows have it as `group`.

    Args:
        policy: trained in place; every weight that is not frozen is perturbed.
        config: see `EvolutionStrategiesConfig`.
        seed: of the noise and of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Source: Salimans et al. 2017 (Evolution strategies as a scalable alternative to reinforcement learning).
    Differs from: the paper, in which equal scores have ranks in the order of their members; here they share their mean rank, so that a
    population that scores alike stays where it is. Under several processes each ranks its own members; gradients are averaged.
    """

    def __init__(self, policy: nn.Module, config: EvolutionStrategiesConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or EvolutionStrategiesConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self._weights = [parameter for parameter in policy.parameters() if parameter.requires_grad]

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps, whose scores say nothing about each other."""
        require_whole_rows(task, "evolution_strategies")

    def collect(self, task: Task) -> Trajectory:
        """Let each member act on the next contexts."""
        self.check_task(task)
        generator = self.optimiser.generator
        seeds = torch.randint(2**61, (self.config.population_size // 2,), generator=generator, device=generator.device)
        rows = []
        for member in (number for seed in seeds.tolist() for number in (2 * seed, 2 * seed + 1)):
            with self._perturbed(member):
                played = task.rollout(self.policy.eval(), greedy=self.config.greedy, generator=generator)
            rows.append(played.replace(group=torch.full((played.batch_size,), member, device=played.reward.device)))
        return concatenate(rows).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step along the members' noise, weighed by how they scored.

        Raises:
            ValueError: when a score is not finite.
        """
        rows = trajectory.select_rows(trajectory.mask.any(dim=1))
        assert rows.group is not None
        members, places = rows.group.unique(return_inverse=True)
        score = rows.score.double()
        if not bool(score.isfinite().all()):
            raise ValueError("evolution_strategies: expected finite scores, got some that are not; look at the task's rewards")
        fitness = score.new_zeros(len(members)).index_add(0, places, score) / places.bincount()
        weights = (centred_ranks(fitness) / (len(members) * self.config.sigma)).tolist()

        def gradients() -> tuple[dict[str, Tensor], list[PolicyStats]]:
            # A group is a member here, whose rows have contexts of their own, while policies encode one context a group.
            alone = trajectory.replace(group=None)
            found = self.optimiser.accumulate(alone, lambda *_: {}) if has_aux_loss(self.policy, alone) else ({}, [])
            for member, weight in zip(members.tolist(), weights, strict=True):
                for parameter, noise in zip(self._weights, self._noise(member), strict=True):
                    parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad.sub_(noise, alpha=weight)  # the optimiser goes downhill
            return found

        stats = describe_rollout(trajectory) | read(self.optimiser.step_on(gradients)[0])
        if len(members):
            stats |= {"population/score_best": float(fitness.max()), "population/score_std": float(fitness.std(correction=0))}
        self.optimiser.finish_update()
        return stats

    def _noise(self, member: int) -> Iterator[Tensor]:
        """Draw a member's noise, one tensor a weight, deviation 1."""
        generator = torch.Generator(self.optimiser.device).manual_seed(member // 2)
        for weight in self._weights:
            noise = torch.randn(weight.shape, generator=generator, device=weight.device)
            yield -noise if member % 2 else noise

    @contextmanager
    def _perturbed(self, member: int) -> Iterator[None]:
        """Let the policy be a member for a while."""
        before = [weight.detach().clone() for weight in self._weights]
        try:
            with torch.no_grad():
                for weight, noise in zip(self._weights, self._noise(member), strict=True):
                    weight.add_(noise, alpha=self.config.sigma)
            yield
        finally:
            with torch.no_grad():
                for weight, old in zip(self._weights, before, strict=True):
                    weight.copy_(old)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": "ranks", "samples": 1}

    state_dict = state_of
    load_state_dict = load_state
