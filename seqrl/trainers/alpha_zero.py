"""AlphaZero (Silver et al. 2017): a network learns what a tree search by itself has found, and how the games ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from seqrl.diagnostics import average_of, describe_rollout
from seqrl.distributions import Categorical
from seqrl.functional.returns import discounted_return
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.policies.search_policy import SearchPolicy
from seqrl.protocols import Task
from seqrl.requirements import hint
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

KEPT = ("observation", "action_mask", "visits")


@dataclass
class AlphaZeroConfig:
    """Settings of AlphaZero.

    Attributes:
        buffer_size: newest positions that are learned from.
        gradient_steps: optimiser steps an update.
        batch_size: positions in each, drawn evenly.
        l2_coef: c, weight of the squared weights.
        symmetries: show each drawn position as a symmetry of its game has it, drawn evenly.
        optimiser: see `OptimiserConfig`.
    """

    buffer_size: Count = 20_000
    gradient_steps: Count = 50
    batch_size: Count = 128
    l2_coef: NotNegative[float] = 1e-4
    symmetries: bool = True
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> AlphaZero:
        """Make the trainer."""
        return AlphaZero(policy, self, seed=seed, num_updates=num_updates)


class AlphaZero:
    """Minimises (z - v)² - πᵀ log p + c |θ|² over positions of self-play: p and v are the network's, π the search's, z the outcome.

    π(a) is the share of the search's visits that went to a. z is 1, 0 or -1 for who was to move: the return of that player's row.

    Args:
        policy: a `SearchPolicy` that searches; its network is trained in place.
        config: see `AlphaZeroConfig`.
        seed: of self-play and of what is drawn.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy does not search.

    Source: Silver et al. 2017 (Mastering the game of Go without human knowledge), eq. 1; the latest network plays, symmetries: Silver et
    al. 2018 (A general reinforcement learning algorithm that masters chess, shogi, and Go through self-play), methods.
    Differs from: the papers in Adam in the place of momentum, and in that games and updates take turns in one process. Symmetries are
    drawn for what is learned alone, as in the first paper; the search sees positions as they are.
    """

    saved = ("steps",)
    own_state = ("generator", "steps")

    def __init__(self, policy: nn.Module, config: AlphaZeroConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, SearchPolicy) or not policy.config.num_simulations:
            found = "one without simulations" if isinstance(policy, SearchPolicy) else f"a {type(policy).__name__}"
            raise ValueError(
                f"alpha_zero teaches a policy that searches a game's tree, got {found}; "
                f"{hint(policy, 'tree_search')}choose ppo, a2c, dqn or reinforce"
            )
        self.policy: SearchPolicy = policy
        self.config = config or AlphaZeroConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.steps: list[Tensor] = []  # positions, their legal moves, the search's visits, outcomes
        orders = (policy.game.cell_orders, policy.game.action_orders)
        self._cells, self._actions = (torch.from_numpy(order).to(self.optimiser.device) for order in orders)

    def collect(self, task: Task) -> Trajectory:
        """Play against itself."""
        played = task.rollout(self.policy.eval(), generator=self.optimiser.generator).to(self.optimiser.device)
        if not isinstance(played.obs, Mapping) or not set(KEPT) <= set(played.obs):
            raise ValueError(f"alpha_zero: expected a task of games, whose obs has {', '.join(KEPT)}; set task.type=boards")
        return played

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Keep the positions of the newest games, and fit the network to what was found in them."""
        assert isinstance(trajectory.obs, Mapping)
        mask, value = trajectory.mask, trajectory.value
        outcome = discounted_return(trajectory.reward, value, trajectory.terminated, trajectory.truncated, 1.0)
        met = [*(cast(Tensor, trajectory.obs[name])[:, :-1][mask] for name in KEPT), outcome[mask]]
        joined = [torch.cat(both) for both in zip(self.steps, met, strict=True)] if self.steps else met
        self.steps = [column[-self.config.buffer_size :] for column in joined]
        history = []
        for _ in range(self.config.gradient_steps):
            rows, visits, outcome = self._draw()
            history.append(self.optimiser.step(rows, self.loss, visits=visits, outcome=outcome)[0])
        self.optimiser.finish_update()
        return describe_rollout(trajectory) | average_of(history) | {"replay/num_steps": float(len(self.steps[0]))}

    def loss(self, part: Trajectory, evaluation: Evaluation, visits: Tensor, outcome: Tensor) -> dict[str, Tensor | Term]:
        """Give -πᵀ log p, (z - v)² and |θ|² of each position, [B, 1]."""
        assert isinstance(evaluation.distribution, Categorical)
        log_p = evaluation.distribution.logits.log_softmax(dim=-1).masked_fill(visits == 0, 0.0)  # of an illegal move it is -inf
        squares = torch.stack([parameter.square().sum() for parameter in self.policy.parameters()]).sum()
        return {
            "loss/policy": -(visits * log_p).sum(dim=-1),
            "loss/value": (outcome - evaluation.value).square(),
            "loss/l2": Term(squares.expand(part.mask.shape), self.config.l2_coef),
        }

    def _draw(self) -> tuple[Trajectory, Tensor, Tensor]:
        """Draw positions as rows of one step, with visits [B, 1, A] and outcomes [B, 1], each seen through a symmetry."""
        count, device, generator = self.config.batch_size, self.optimiser.device, self.optimiser.generator
        drawn = torch.randint(len(self.steps[0]), (count,), generator=generator, device=device)
        planes, legal, visits, outcome = (column[drawn].unsqueeze(1) for column in self.steps)
        if self.config.symmetries:
            which = torch.randint(len(self._cells), (count,), generator=generator, device=device)
            cells, actions = self._cells[which].view(count, 1, 1, -1), self._actions[which].unsqueeze(1)
            planes = planes.flatten(3).gather(3, cells.expand(-1, -1, planes.shape[2], -1)).view_as(planes)
            legal, visits = legal.gather(2, actions), visits.gather(2, actions)
        zeros, no = torch.zeros(count, 1, device=device), torch.zeros(count, 1, dtype=torch.bool, device=device)
        obs = {"observation": planes.expand(-1, 2, -1, -1, -1), "action_mask": legal.expand(-1, 2, -1)}
        rows = Trajectory(
            action=visits.argmax(dim=-1),
            logp=zeros,
            value=zeros.expand(-1, 2),
            reward=zeros,
            terminated=~no,
            truncated=no,
            mask=~no,
            obs=obs,
        )
        return rows, visits, outcome

    state_dict = state_of
    load_state_dict = load_state
