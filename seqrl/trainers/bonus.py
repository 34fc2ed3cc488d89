"""Where rewards get a bonus for what is new, for every trainer that takes one: `q_table`, `dqn` and `ppo`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from seqrl.diagnostics import average_of
from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import Optimiser, OptimiserConfig
from seqrl.policies.encoders import Inputs, ObservationSize
from seqrl.policies.novelty import DensityCounts, RandomDistillation, VisitCounts
from seqrl.policies.tables import ActionValueTable, ProbabilityTable
from seqrl.settings import Count, Fraction, NotNegative, ReadBy, check_settings
from seqrl.trajectory import Evaluation, Trajectory, Tree


@dataclass
class BonusConfig:
    """Settings of the bonus.

    Attributes:
        type: "none"; "counts", 1 / √N of numbered states; "pseudo_counts", the same by the counts that a density model of any numbers
            implies; "random_distillation", how badly a random network is foretold, for whatever is seen, pictures too.
        coefficient: β, what the bonus is multiplied by, in the unit of the rewards that the trainer sees.
        num_bins: of each number that is seen, for the density.
        hidden_sizes: of the layers of the random network and of the one that foretells it.
        num_features: their outputs.
        gamma: discount of the sums of bonuses whose deviation is their scale, per step.
        gradient_steps: optimiser steps an update of the network that foretells, each on all steps.
        optimiser: of that network, see `OptimiserConfig`.
    """

    type: Literal["none", "counts", "pseudo_counts", "random_distillation"] = "none"
    coefficient: NotNegative[float] = 0.1
    num_bins: Annotated[Count, ReadBy("type", "pseudo_counts")] = 20
    hidden_sizes: Annotated[tuple[int, ...], ReadBy("type", "random_distillation")] = (64, 64)
    num_features: Annotated[Count, ReadBy("type", "random_distillation")] = 32
    gamma: Annotated[Fraction, ReadBy("type", "random_distillation")] = 0.99
    gradient_steps: Annotated[Count, ReadBy("type", "random_distillation")] = 4
    optimiser: Annotated[OptimiserConfig, ReadBy("type", "random_distillation")] = field(
        default_factory=lambda: OptimiserConfig(precision="fp32")
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes: expected at least one layer of at least 1, got {self.hidden_sizes}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int, device: torch.device | str = "cpu") -> Bonus | None:
        """Make the bonus for what a policy sees; None for "none".

        Raises:
            ValueError: when the policy does not see what this bonus is about.
        """
        return None if self.type == "none" else Bonus(policy, self, seed=seed, num_updates=num_updates, device=device)


class Bonus:
    """Pays r_t + β b(s_{t+1}): a step has the bonus of what it led to, beyond episodes' ends as well, but not of a reset.

    All steps of an update are observed before any is paid, so that their order, and which process they came in, does not matter. What
    is kept of the past is the same in all processes. A replay keeps the bonuses of the time when they were paid.

    Args:
        policy: says what is seen.
        config: see `BonusConfig`.
        seed: of the networks' weights.
        num_updates: length of the run, for the learning-rate schedule.
        device: where the trainer has its rows.

    Raises:
        ValueError: see `BonusConfig.build`.
    """

    def __init__(self, policy: nn.Module, config: BonusConfig, *, seed: int, num_updates: int, device: torch.device | str) -> None:
        self.config, size = config, _observation_size(policy, config.type)
        # Of what a trajectory keeps for each step a policy may see a part only.
        self._seen: Callable[[Tree], Tree] = getattr(policy, "seen_of", lambda obs: obs)
        self._optimiser: Optimiser | None = None
        self.novelty: VisitCounts | DensityCounts | RandomDistillation
        if config.type == "random_distillation":
            generator = torch.Generator().manual_seed(seed)
            self.novelty = RandomDistillation(size, config.hidden_sizes, config.num_features, config.gamma, generator)
            self._optimiser = Optimiser(self.novelty, config.optimiser, num_updates=num_updates, seed=seed)
        else:
            self.novelty = VisitCounts(size.num_categories) if config.type == "counts" else DensityCounts(size, config.num_bins)
            self.novelty.to(device)

    def pay(self, rows: Trajectory) -> tuple[Trajectory, dict[str, float]]:
        """Give an update's rows with bonuses in their rewards, and what to log; learn from them what is new no more."""
        shown = rows.replace(obs=self._seen(rows.obs))
        stats = self.novelty.observe(shown)
        bonus = torch.where(rows.mask, self.config.coefficient * self.novelty.bonus(shown), 0.0)
        stats["explore/bonus"] = float(masked_mean(bonus, rows.mask))
        if self._optimiser is not None:
            history = [self._optimiser.step(shown, _foretold)[0] for _ in range(self.config.gradient_steps)]
            self._optimiser.finish_update()
            stats |= {name: value for name, value in average_of(history).items() if name == "loss/predictor"}
        return rows.replace(reward=rows.reward + bonus), stats

    def of_state(self, state: int) -> float:
        """Give the present bonus of a numbered state; of "counts" alone."""
        assert isinstance(self.novelty, VisitCounts)
        return self.config.coefficient / math.sqrt(max(1.0, self.novelty.visits[state].item()))

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next bonuses depend on."""
        optimiser = None if self._optimiser is None else self._optimiser.state_dict()
        return {"novelty": self.novelty.state_dict(), "optimiser": optimiser}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.novelty.load_state_dict(state["novelty"])
        if self._optimiser is not None:
            self._optimiser.load_state_dict(state["optimiser"])


def _foretold(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
    """Give the loss of each step, [B, T]: the error itself."""
    return {"loss/predictor": evaluation.logp}


def _observation_size(policy: nn.Module, type_: str) -> ObservationSize:
    """Say what a policy sees, and refuse what a bonus is not about."""
    if isinstance(policy, ActionValueTable | ProbabilityTable):
        table = policy.values if isinstance(policy, ActionValueTable) else policy.logits
        return ObservationSize((), num_categories=table.shape[0])
    inputs = getattr(policy, "inputs", None)
    if not isinstance(inputs, Inputs):
        raise ValueError(
            f"bonus.type: {type_} expects a policy that acts in an environment (actor_critic, action_values or a table), got a "
            f"{type(policy).__name__}; set trainer.bonus.type=none"
        )
    if type_ == "counts" and not inputs.size.num_categories:
        raise ValueError(
            f"bonus.type: counts expects numbered states, of which each has a count of its own, got observations of shape "
            f"{list(inputs.size.shape)}; set trainer.bonus.type=pseudo_counts or random_distillation"
        )
    if type_ == "pseudo_counts" and inputs.size.convolved:
        raise ValueError(
            "bonus.type: pseudo_counts expects numbers, got pictures, or what an encoder of one's own reads; "
            "set trainer.bonus.type=random_distillation"
        )
    return inputs.size
