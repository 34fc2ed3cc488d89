"""GAIL (Ho & Ermon 2016): a discriminator tells the expert's steps from the policy's, and PPO is paid for what passes as the expert's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.diagnostics import average_of
from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.policies.actor_critic import ActorCritic
from seqrl.policies.discriminator import Discriminator
from seqrl.protocols import Task
from seqrl.requirements import demonstrations_of, require_critic
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.trainers.imitation import with_memory_of
from seqrl.trainers.ppo import PPO
from seqrl.trainers.ppo_config import PPOConfig
from seqrl.trajectory import Evaluation, Trajectory, concatenate, imitated, map_tree

RewardForm = Literal["positive", "negative", "log_ratio"]


@dataclass
class GAILConfig:
    """Settings of GAIL.

    Attributes:
        reward: what a step is paid: "positive", -log(1 - D), which also pays for going on, so that it suits tasks where an end is a
            failure; "negative", log D, which also pays for ending; "log_ratio", log D - log(1 - D), in between (Kostrikov et al. 2019).
        hidden_sizes: of the discriminator's layers.
        discriminator_steps: its optimiser steps in each update, on all of the policy's steps and as many rows of demonstrations as the
            task gives.
        gradient_penalty: weight of the mean squared norm of its gradient on these steps, which keeps it smooth; 0 for none.
        discriminator: its optimiser, see `OptimiserConfig`.
        ppo: how the policy learns from that reward, see `PPOConfig`.
    """

    reward: RewardForm = "positive"
    hidden_sizes: tuple[int, ...] = (64, 64)
    discriminator_steps: Count = 4
    gradient_penalty: NotNegative[float] = 0.0
    discriminator: OptimiserConfig = field(default_factory=OptimiserConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.ppo.imitation.weight:
            raise ValueError(
                f"ppo.imitation.weight: expected 0, since the discriminator sees the demonstrations, got {self.ppo.imitation.weight}"
            )

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> GAIL:
        """Make the trainer."""
        return GAIL(policy, self, seed=seed, num_updates=num_updates)


class GAIL:
    """Looks for the saddle point of E_expert[log D(s, a)] + E_policy[log(1 - D(s, a))]: D goes up, the policy down.

    At its optimum D / (1 - D) = rho_expert / rho_policy, the ratio of how often each visits a step. The environment's own rewards are
    logged and never learned from. Of states that end an episode (absorbing states) the discriminator sees nothing, so that the sign of the
    reward is a bias of its own, see `GAILConfig.reward`.

    Source: Ho & Ermon 2016 (Generative adversarial imitation learning), algorithm 1; forms of the reward and their bias: Kostrikov et al.
    2019 (Discriminator-actor-critic), section 4.2; the gradient penalty at the data's own points: Mescheder et al. 2018 (Which training
    methods for GANs do actually converge?), eq. 9.
    Differs from: Ho & Ermon in PPO in the place of TRPO; D is the probability of the expert, theirs that of the policy.

    Args:
        policy: an `ActorCritic`; trained in place.
        config: see `GAILConfig`.
        seed: of the sampling, and of the discriminator's first weights.
        num_updates: length of the run, for the learning-rate schedules.

    Raises:
        ValueError: when the policy has no critic.
    """

    def __init__(self, policy: nn.Module, config: GAILConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_critic(policy, "gail")
        self.policy, self.config = policy, config or GAILConfig()
        self.ppo = PPO(policy, self.config.ppo, seed=seed, num_updates=num_updates)
        self.optimiser = self.ppo.optimiser
        self.discriminator, self.discriminator_optimiser = None, None
        if type(policy) is ActorCritic and not policy.inputs.size.convolved:  # none whose rows hold predictions, too
            generator = torch.Generator().manual_seed(seed)
            self.discriminator = Discriminator(policy.inputs.size, policy.actions, self.config.hidden_sizes, generator)
            self.discriminator_optimiser = Optimiser(self.discriminator, self.config.discriminator, num_updates=num_updates, seed=seed)

    @property
    def how_it_runs(self) -> str:
        """See `PPO.how_it_runs`."""
        return self.ppo.how_it_runs

    def check_task(self, task: Task) -> None:
        """Refuse a task without demonstrations, and a policy that does not say what it does or sees pictures."""
        demonstrations_of(task)
        self.ppo.check_task(task)
        if self.discriminator is None:
            raise ValueError(
                f"trainer gail: expected an ActorCritic that sees numbers, which its discriminator can read, got a "
                f"{type(self.policy).__name__} that sees something else; choose supervised or dagger"
            )

    def collect(self, task: Task) -> Trajectory:
        """Sample rows, and put the next demonstrations under them."""
        self.check_task(task)
        rows = self.ppo.collect(task)
        shown = repacked(demonstrations_of(task)(None).to(rows.mask.device), rows.num_steps)
        return concatenate([rows, with_memory_of(rows, shown)])

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Improve the discriminator, then the policy by what it now says."""
        discriminator, optimiser = self.discriminator, self.discriminator_optimiser
        assert discriminator is not None and optimiser is not None
        discriminator.observe(trajectory)
        history = [optimiser.step(trajectory, self.loss)[0] for _ in range(self.config.discriminator_steps)]
        optimiser.finish_update()
        with torch.no_grad():
            f = discriminator(trajectory).logp
        names = ("loss/discriminator", "loss/discriminator_expert", "loss/gradient_penalty")
        stats = {name: value for name, value in average_of(history).items() if name in names}
        stats["discriminator/expert_share"] = float(masked_mean((f > 0).float(), imitated(trajectory)))
        stats["discriminator/policy_share"] = float(masked_mean((f < 0).float(), trajectory.mask))
        own = ~imitated(trajectory).any(dim=1)
        reward = torch.where(trajectory.mask, reward_of(f, self.config.reward), 0.0)
        rows = trajectory.replace(reward=reward).select_rows(own).replace(imitate=None)
        return stats | self.ppo.update(rows)

    def loss(self, part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor | Term]:
        """Give the discriminator's losses of each step, [B, T]: -log(1 - D) of the policy's, -log D of the expert's, and the penalty."""
        f = evaluation.logp
        terms: dict[str, Tensor | Term] = {
            "loss/discriminator": F.softplus(f),
            "loss/discriminator_expert": Term(F.softplus(-f), imitated=True),
        }
        if self.config.gradient_penalty and self.discriminator is not None:
            penalty, weight = self.discriminator.penalty(part), self.config.gradient_penalty / 2
            terms["loss/gradient_penalty"] = Term(penalty, weight)
            terms["loss/gradient_penalty_expert"] = Term(penalty, weight, imitated=True)
        return terms

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return self.ppo.reward_settings()

    def state_dict(self) -> dict[str, Any]:
        """Give the state of PPO, and that of the discriminator and its optimiser."""
        return {**self.ppo.state_dict(), **{name: part.state_dict() for name, part in self._own_parts().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.ppo.load_state_dict(state)
        for name, part in self._own_parts().items():
            part.load_state_dict(state[name])

    def _own_parts(self) -> dict[str, Any]:
        parts = {"discriminator": self.discriminator, "discriminator_optimiser": self.discriminator_optimiser}
        return {name: part for name, part in parts.items() if part is not None}


def reward_of(f: Tensor, form: RewardForm) -> Tensor:
    """Give what a step is paid, with D = 1 / (1 + exp(-f)): -log(1 - D) = softplus(f), log D = -softplus(-f), or their sum, f.

    Args:
        f: logarithm of the odds that a step is the expert's, of any shape.
        form: see `GAILConfig`.
    """
    return {"positive": F.softplus(f), "negative": -F.softplus(-f), "log_ratio": f}[form]


def repacked(shown: Trajectory, num_steps: int) -> Trajectory:
    """Put demonstrated steps side by side into rows of a number of steps, for who looks at single steps alone.

    Args:
        shown: [B, T]; the steps that `imitate` names are kept, in their order, and not what was seen after them.
        num_steps: of a new row; the last row is filled up with steps that do not count.
    """
    places = imitated(shown).nonzero(as_tuple=True)
    number = len(places[0])
    order = torch.arange(-(-number // num_steps) * num_steps, device=shown.mask.device).view(-1, num_steps)
    rows, steps = (place[order.clamp(max=number - 1)] for place in places)

    def packed(leaf: Tensor) -> Tensor:
        return leaf[rows, steps]

    def seen(leaf: Tensor) -> Tensor:
        return torch.cat([packed(leaf), packed(leaf)[:, -1:]], dim=1)

    none, no = torch.zeros(order.shape, device=order.device), torch.zeros_like(order, dtype=torch.bool)
    return Trajectory(
        action=packed(shown.action),
        logp=none,
        value=torch.zeros(len(order), num_steps + 1, device=order.device),
        reward=none,
        terminated=no,
        truncated=no,
        mask=no,
        obs=map_tree(seen, shown.obs),
        imitate=order < number,
    )
