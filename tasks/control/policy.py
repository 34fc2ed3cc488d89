"""An actor and a critic, each a small MLP, for discrete and continuous actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import gymnasium as gym
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from seqrl.action_values import ActionValuesConfig
from seqrl.distributions import Categorical, Gaussian
from seqrl.networks import MLP
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

Kind = Literal["actor_critic", "action_values", "action_value_table", "probability_table"]


@dataclass
class ControlPolicyConfig:
    """Kind and size of the policy.

    Attributes:
        hidden_sizes: sizes of the layers between input and output.
        kind: "actor_critic", a policy and a critic (PPO and its like); "action_values", a network of Q(s, a) (DQN);
            "action_value_table" (Q-learning, SARSA) and "probability_table" (cross-entropy method) for numbered observations.
        action_values: what the network of "action_values" is made of, see `seqrl.action_values.ActionValuesConfig`.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    kind: Kind = "actor_critic"
    action_values: ActionValuesConfig = field(default_factory=ActionValuesConfig)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes: expected at least one layer of at least 1, got {self.hidden_sizes}")


def build_policy(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None = None
) -> nn.Module:
    """Make the policy that a configuration names, of the sizes that an environment's spaces ask for.

    Args:
        config: see `ControlPolicyConfig`.
        observation_space: of one environment.
        action_space: of one environment.
        generator: draws the first weights.

    Raises:
        ValueError: when this kind cannot serve the spaces.
    """
    return _BUILDERS[config.kind](config, observation_space, action_space, generator)


class ControlPolicy(nn.Module):
    """Chooses an action from what is seen now, without memory.

    Discrete actions are drawn from softmax(actor(x)); continuous ones from a Gaussian with mean actor(x) and one learned
    deviation for each dimension, before the environment clips them.

    Args:
        observation_space: Box of any shape, flattened, or Discrete, one-hot.
        action_space: Discrete, or Box of one dimension.
        hidden_sizes: layers of the actor, and of the critic.
        generator: draws the weights; PyTorch's own when None.

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), comparison of surrogate objectives; small last layer
    of the actor: Andrychowicz et al. 2021 (What matters for on-policy deep actor-critic methods?), section 3.2.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(observation_space, Box | Discrete) and isinstance(action_space, Box | Discrete)
        self.shape = tuple(observation_space.shape or ())
        self.num_observations = int(observation_space.n) if isinstance(observation_space, Discrete) else 0
        num_inputs = self.num_observations or int(torch.Size(self.shape).numel())
        discrete = isinstance(action_space, Discrete)
        num_outputs = int(action_space.n) if isinstance(action_space, Discrete) else action_space.shape[0]
        self.actor = MLP(num_inputs, hidden_sizes, num_outputs, output_gain=0.01, generator=generator)
        self.critic = MLP(num_inputs, hidden_sizes, 1, generator=generator)
        self.log_std = None if discrete else nn.Parameter(torch.zeros(num_outputs))

    def initial_state(self, context: Tree) -> Tree:
        """Give None: there is no memory."""
        return None

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row of obs [B, ...]; greedy takes the most probable one."""
        assert isinstance(obs, Tensor)
        features = self._features(obs)
        output, value = self.actor(features), self.critic(features).squeeze(-1)
        distribution = self._distribution(output)
        action = distribution.mode() if greedy else distribution.sample(generator)
        return Step(action, distribution.logp(action), value)

    def _distribution(self, output: Tensor) -> Categorical | Gaussian:
        return Categorical(output) if self.log_std is None else Gaussian(output, self.log_std)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the actions of a trajectory whose obs is [B, T+1, ...]."""
        assert isinstance(trajectory.obs, Tensor)
        features = self._features(trajectory.obs[:, :-1])
        output, value = self.actor(features), self.critic(features).squeeze(-1)
        distribution = self._distribution(output)
        mean_logp = output.log_softmax(dim=-1).mean(dim=-1) if self.log_std is None else None
        logp = distribution.logp(trajectory.action)
        return Evaluation(logp, distribution.entropy(), value, mean_logp=mean_logp, distribution=distribution)

    def _features(self, obs: Tensor) -> Tensor:
        """Flatten what is seen to float [..., num_inputs]."""
        weight = self.actor.layers[0].weight
        assert isinstance(weight, Tensor)
        if self.num_observations:
            return F.one_hot(obs.to(weight.device), self.num_observations).to(weight.dtype)
        leading = obs.shape[: obs.ndim - len(self.shape)]
        return obs.to(weight.device, weight.dtype).reshape(*leading, -1)


def _actor_critic(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    return ControlPolicy(observation_space, action_space, config.hidden_sizes, generator=generator)


def _action_values(
    config: ControlPolicyConfig, observation_space: gym.Space, action_space: gym.Space, generator: torch.Generator | None
) -> nn.Module:
    from tasks.control.action_values import build_action_values

    return build_action_values(config, observation_space, action_space, generator)


# A kind's builder imports its module only when it is asked for.
_BUILDERS: dict[str, Callable[[ControlPolicyConfig, gym.Space, gym.Space, torch.Generator | None], nn.Module]] = {
    "actor_critic": _actor_critic,
    "action_values": _action_values,
}
