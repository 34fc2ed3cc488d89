"""The policy of soft actor-critic: an actor, critics of actions that are evaluated side by side, and the price of entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqrl.distributions import Categorical, SquashedGaussian
from seqrl.policies.actor_critic import LOG_STD_LIMITS, ActionSize
from seqrl.policies.encoders import Inputs, ObservationSize
from seqrl.policies.networks import MLP
from seqrl.settings import Count, check_settings
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree

LARGEST_CHANCE = 1 - 1e-6  # of tanh(u) where actions are drawn evenly, so that u stays finite


@dataclass
class SoftActorCriticConfig:
    """Settings of the policy.

    Attributes:
        num_critics: of which the smallest value counts.
        normalise_observations: scale observations by their running mean and deviation, see `seqrl.policies.encoders.RunningNorm`.
    """

    num_critics: Count = 2
    normalise_observations: bool = False

    def __post_init__(self) -> None:
        check_settings(self)


class Critics(nn.Module):
    """K networks of one shape, whose hidden layers are each one batched product: h_{i+1} = relu(h_i W_i + b_i), the last one linear.

    Args:
        num_inputs: size of the input.
        hidden_sizes: of the layers between.
        num_outputs: size of the output.
        num_critics: K.
        generator: draws the initial weights, orthogonal with gain √2, the last ones 1.
    """

    def __init__(
        self, num_inputs: int, hidden_sizes: Sequence[int], num_outputs: int, num_critics: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        networks = [MLP(num_inputs, hidden_sizes, num_outputs, generator=generator) for _ in range(num_critics)]
        layers = list(zip(*(network.layers for network in networks), strict=True))
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach().T for layer in same]).contiguous() for same in layers)
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach().unsqueeze(0) for layer in same]) for same in layers)

    def forward(self, x: Tensor, *, constant: bool = False) -> Tensor:
        """Map [N, num_inputs] to [K, N, num_outputs].

        Args:
            x: the same for all networks.
            constant: take the weights as constants, so that only what depends on x has a gradient.
        """
        weights, biases = ([p.detach() if constant else p for p in parameters] for parameters in (self.weights, self.biases))
        hidden = x.expand(len(weights[0]), *x.shape)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            hidden = torch.baddbmm(bias, hidden, weight).relu_()
        # With few outputs a batched product takes several times as long as one each.
        last = zip(biases[-1].unbind(), hidden.unbind(), weights[-1].unbind(), strict=True)
        return torch.stack([torch.addmm(*layer) for layer in last])


class SoftActorCritic(nn.Module):
    """Draws actions from π(a|s), tanh of a Gaussian or one of a number of choices, and estimates Q_k(s, a) by K critics.

    Where actions are numbers an action is kept as its u, before the tanh, see `SquashedGaussian`, and a critic sees s and tanh(u); where
    they are choices it gives the values of all.

    Args:
        observation: of one observation; numbers or a category.
        actions: one choice, or numbers.
        hidden_sizes: of the layers between, of actor and critics.
        config: see `SoftActorCriticConfig`.
        generator: draws the initial weights; PyTorch's own when None.

    Attributes:
        log_ent_coef: [] logarithm of α, the price of entropy; it learns where the trainer says so.
        acts_by_chance: draw every action evenly, while steps are gathered at first.

    Source: Haarnoja et al. 2018 (Soft actor-critic algorithms and applications), sections 5 and 6; for choices: Christodoulou 2019
    (Soft actor-critic for discrete action settings).
    """

    # What is drawn is weighed by no probability, so that others than `sac` find nothing to learn from.
    is_value_based, has_distribution = True, False

    def __init__(
        self,
        observation: ObservationSize,
        actions: ActionSize,
        hidden_sizes: Sequence[int] = (256, 256),
        config: SoftActorCriticConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or SoftActorCriticConfig()
        self.actions, self.max_entropy = actions, actions.max_entropy
        self.inputs = Inputs(observation, normalise=config.normalise_observations)
        size, choices = observation.num_inputs, actions.num_actions
        # Numbers have a mean and a logarithm of the deviation each.
        num_outputs = choices or 2 * actions.num_dimensions
        self.actor = MLP(size, hidden_sizes, num_outputs, activation=torch.relu, output_gain=0.01, generator=generator)
        self.critics = Critics(size + actions.num_dimensions, hidden_sizes, choices or 1, config.num_critics, generator)
        self.log_ent_coef = nn.Parameter(torch.zeros(()))
        self.acts_by_chance = False

    def initial_state(self, context: Tree) -> Tree:
        """Give None: there is no memory; what has been observed counts from here on."""
        if self.inputs.norm is not None:
            self.inputs.norm.fold()
        return None

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, ...], which count for the normalisation from the next rollout on."""
        assert isinstance(obs, Tensor)
        self.inputs.observe(obs, mask)

    def distribution(self, x: Tensor) -> Categorical | SquashedGaussian:
        """Give π(·|s) for inputs [..., num_inputs]."""
        outputs = self.actor(x).float()
        if self.actions.num_actions:
            return Categorical(outputs)
        mean, log_std = outputs.chunk(2, dim=-1)
        return SquashedGaussian(mean, log_std.clamp(*LOG_STD_LIMITS))

    def action_values(self, critics: Critics, x: Tensor, action: Tensor, *, constant: bool = False) -> Tensor:
        """Give Q_k(s, a), [K, N], for inputs [N, num_inputs] and actions [N] or [N, D].

        Args:
            critics: those of the policy, or those that lag behind.
            x: see `Inputs`.
            action: numbers of choices, or u.
            constant: see `Critics.forward`.
        """
        if self.actions.num_actions:
            values = critics(x, constant=constant)
            return values.gather(2, action.long().expand(len(values), -1).unsqueeze(2)).squeeze(2)
        return critics(torch.cat([x, action.tanh()], dim=1), constant=constant).squeeze(2)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row of obs [B, ...]; `annotate` sets what else a step has, which is nothing."""
        assert isinstance(obs, Tensor)
        if self.acts_by_chance and not greedy:
            return Step(self._chance(len(obs), generator), None, None)
        distribution = self.distribution(self.inputs(obs))
        return Step(distribution.mode() if greedy else distribution.sample(generator), None, None)

    def annotate(self, trajectory: Trajectory) -> Trajectory:
        """Leave log-probabilities and values at 0: a replay keeps neither."""
        return trajectory

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate actions [B, T]: `returns` [B, T, K] are the values that each critic gives them, `value` is the smallest of these."""
        B, T = trajectory.mask.shape
        x = self.inputs(map_tree(lambda leaf: leaf[:, :-1], trajectory.obs)).flatten(0, 1)  # type: ignore[arg-type]
        values = self.action_values(self.critics, x, trajectory.action.flatten(0, 1)).float().T.view(B, T, -1)
        distribution, zero = self.distribution(x.view(B, T, -1)), torch.zeros_like(trajectory.reward)
        return Evaluation(zero, zero, values.amin(dim=2), distribution=distribution, returns=values)

    def _chance(self, count: int, generator: torch.Generator | None) -> Tensor:
        device = self.log_ent_coef.device
        if self.actions.num_actions:
            return torch.randint(self.actions.num_actions, (count,), generator=generator, device=device)
        share = torch.rand(count, self.actions.num_dimensions, generator=generator, device=device)
        return torch.atanh((2 * share - 1) * LARGEST_CHANCE)


def target_entropy(actions: ActionSize) -> float:
    """Give the entropy that is aimed at by default, nats: -D for D numbers, 0.98 log A for a choice among A.

    Source: Haarnoja et al. 2018, table 1; Christodoulou 2019, appendix (0.98 of the largest).
    """
    return 0.98 * math.log(actions.num_actions) if actions.num_actions else -float(actions.num_dimensions)
