"""Advantage actor-critic (Mnih et al. 2016): one step along the policy gradient for each stretch, with a critic's advantages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import describe_advantage, describe_rollout, explained_variance
from seqrl.functional import advantages, losses, returns
from seqrl.functional.reductions import AverageOver
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import require_critic
from seqrl.settings import Count, Fraction, NotNegative, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

Advantage = Literal["n_step", "td_lambda", "gae"]


@dataclass
class A2CConfig:
    """Settings of A2C.

    Attributes:
        advantage: "n_step": return of `n_steps` rewards minus value (Mnih et al. 2016); "td_lambda": lambda-return minus value
            (Sutton & Barto 2018), "gae": the discounted sum of temporal differences (Schulman et al. 2016). The last two
            give the same advantages and differ in what the critic learns: the lambda-return, or the discounted return.
        n_steps: rewards in an n-step return; 0 takes all that the stretch has left. Read by "n_step" only.
        gae_lambda: lambda; read by "td_lambda" and "gae".
        num_samples: rows sampled for each context.
        gamma: discount γ, per step.
        normalise_advantage: scale the advantages of a batch to mean 0 and deviation 1.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum) or "row_means"; see `reductions.masked_mean`.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the critic's squared error.
        optimiser: see `OptimiserConfig`.
    """

    advantage: Advantage = "n_step"
    n_steps: NotNegative[int] = 0
    gae_lambda: Fraction = 0.95
    num_samples: Count = 1
    gamma: Fraction = 0.99
    normalise_advantage: bool = False
    average_over: AverageOver = "steps"
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> A2C:
        """Make the trainer."""
        return A2C(policy, self, seed=seed, num_updates=num_updates)


class A2C:
    """Follows E[A_t grad log pi(a_t | s_t)] with A_t from a critic that learns by regression on the same stretch.

    Source: Mnih et al. 2016 (Asynchronous methods for deep reinforcement learning), advantage actor-critic.

    Differs from: Mnih et al. (2016) in stepping all environments in turn instead of asynchronously, and in AdamW instead of RMSprop.

    Args:
        policy: trained in place; needs a critic.
        config: see `A2CConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Raises:
        ValueError: when the policy has no critic.
    """

    can_be_sharded = True

    def __init__(self, policy: nn.Module, config: A2CConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or A2CConfig()
        require_critic(policy, "a2c")
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)

    def collect(self, task: Task) -> Trajectory:
        """Sample the next stretch of steps, or rows."""
        rows = task.rollout(self.policy.eval(), num_samples=self.config.num_samples, generator=self.optimiser.generator)
        return rows.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step on the policy's and the critic's loss."""
        config, mask = self.config, trajectory.mask
        target, advantage = self._advantage(trajectory)
        stats = describe_rollout(trajectory) | describe_advantage(advantage, mask)
        stats["critic/explained_variance"] = explained_variance(trajectory.value[:, :-1], target, mask)
        if config.normalise_advantage:
            advantage = distributed.whiten(advantage, mask)
        stats |= self.optimiser.minimise(trajectory, self.loss, over=config.average_over, advantage=advantage, target=target)
        self.optimiser.finish_update()
        return stats

    def loss(self, part: Trajectory, evaluation: Evaluation, advantage: Tensor, target: Tensor) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]."""
        return {
            "loss/policy": losses.policy_gradient(evaluation.logp, advantage),
            "loss/value": Term(losses.value(evaluation.value, target), self.config.vf_coef),
            "loss/entropy": Term(evaluation.entropy, -self.config.ent_coef),
        }

    def _advantage(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Give the critic's targets and the advantages, [B, T] each."""
        config, value = self.config, trajectory.value
        history = (trajectory.reward, value, trajectory.terminated, trajectory.truncated, config.gamma)
        if config.advantage == "gae":
            return returns.discounted_return(*history), returns.gae(*history, config.gae_lambda)
        if config.advantage == "n_step":
            target = returns.n_step(*history, config.n_steps or trajectory.num_steps)
        else:
            target = returns.td_lambda(*history, config.gae_lambda)
        return target, advantages.critic(target, value)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": self.config.advantage, "samples": self.config.num_samples}

    state_dict = state_of
    load_state_dict = load_state
