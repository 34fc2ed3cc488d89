"""A policy made of action values: it estimates the return that follows each action, and takes the action with the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.functional.targets import Estimate
from seqrl.policies.actor_critic import split_observation
from seqrl.policies.encoders import Inputs, Memory, ObservationSize
from seqrl.policies.networks import MLP, RecurrentTorso, restarts
from seqrl.policies.noisy_layers import NoisyLinear, Stream, drop_units
from seqrl.settings import Count, FractionBelowOne, Limit, NotNegative, check_settings
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree

CODE_SIZE = 512
Atoms = Annotated[int, Limit("at least 2", lambda value: value >= 2)]


@dataclass
class ActionValuesConfig:
    """What the network of action values is made of; each setting can be switched alone.

    Attributes:
        estimate: what is estimated of the return: its "mean"; probabilities of `num_atoms` fixed returns, "categorical"
            (C51, Bellemare et al. 2017); or `num_atoms` quantiles, "quantile" (Dabney et al. 2018).
        num_atoms: number of fixed returns or of quantiles; without effect on "mean".
        value_min: smallest return of "categorical".
        value_max: largest return of "categorical".
        dueling: estimate the value of the state and the advantages of the actions apart (Wang et al. 2016).
        noisy: explore by learned noise on the weights behind the encoder (Fortunato et al. 2018); instead of by chance actions
            where the trainer's `epsilon_start` and `epsilon_final` are 0, else beside them.
        noise: first deviation of that noise, divided by the root of a layer's number of inputs.
        dropout: share of hidden units that are left out while exploring, and in updates; exploration by dropout (Gal &
            Ghahramani 2016). 0 switches it off.
        memory: "lstm" or "gru" for what cannot be told from one observation (Hausknecht & Stone 2015), else "none".
        memory_size: units of it.
        normalise_observations: scale observations by their running mean and deviation, see `seqrl.policies.encoders.RunningNorm`; what
            a replay holds is scaled by those of the present.
    """

    estimate: Estimate = "mean"
    num_atoms: Atoms = 51
    value_min: float = 0.0
    value_max: float = 200.0
    dueling: bool = False
    noisy: bool = False
    noise: NotNegative[float] = 0.5
    dropout: FractionBelowOne = 0.0
    memory: Memory = "none"
    memory_size: Count = 64
    normalise_observations: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        if self.value_min >= self.value_max:
            raise ValueError(f"value_min, value_max: expected a rising pair, got {self.value_min} and {self.value_max}")


class ActionValues(nn.Module):
    """Estimates Q(s, a) for each of a number of actions and acts ε-greedily on it.

    Q(s, a) is the estimate, or the mean of the estimated distribution. With `dueling` Q = V + A - mean_a A, atom by atom.
    A sampled action is a chance one with probability `epsilon`, else, like a greedy one, argmax_a Q(s, a).

    The last of the `hidden_sizes` belongs to the streams behind the encoder, of which dueling has two; what is noisy is in
    the streams. Frames of 84x84 are encoded by the Nature CNN, with its 512 outputs in the place of the hidden layers, and other
    pictures likewise, see `seqrl.policies.pictures`. With a memory, it stands between all hidden layers and the streams.

    Args:
        observation: of one observation, see `ObservationSize`.
        num_actions: A.
        hidden_sizes: of the layers between; may be empty, which with one-hot inputs makes a table.
        config: see `ActionValuesConfig`.
        generator: draws the weights; PyTorch's own when None.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods; streams: Wang et al. 2016 (Dueling
    network architectures for deep reinforcement learning), eq. 9; memory: Hausknecht & Stone 2015 (Deep recurrent Q-learning
    for partially observable MDPs); dropout: Gal & Ghahramani 2016 (Dropout as a Bayesian approximation), reinforcement learning.
    """

    support: Tensor
    is_value_based = True  # so that trainers of probabilities refuse it

    def __init__(
        self,
        observation: ObservationSize,
        num_actions: int,
        hidden_sizes: Sequence[int] = (64, 64),
        config: ActionValuesConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or ActionValuesConfig()
        self.shape, self.num_actions = observation.shape, num_actions
        self.epsilon = 0.0
        self.num_atoms = 1 if config.estimate == "mean" else config.num_atoms
        self.register_buffer("support", torch.linspace(config.value_min, config.value_max, config.num_atoms), persistent=False)
        shared, behind, width = list(hidden_sizes), list[int](), observation.num_inputs
        if config.memory == "none" and not observation.convolved:
            shared, behind = shared[:-1], shared[-1:]
        self.inputs = Inputs(observation, normalise=config.normalise_observations)
        self.encoder: nn.Module = nn.Identity()
        if observation.convolved:
            self.encoder = encoder = observation.convolutional_encoder(CODE_SIZE, shared, F.relu, generator)
            width = encoder.num_outputs
        elif shared:
            self.encoder = MLP(width, shared[:-1], shared[-1], activation=F.relu, output_gain=math.sqrt(2.0), generator=generator)
            width = shared[-1]
        self.torso = None
        if config.memory != "none":
            self.torso = RecurrentTorso(config.memory, width, config.memory_size, generator=generator)
            width = config.memory_size
        noise = config.noise if config.noisy else None
        self.advantage = Stream(width, behind, num_actions * self.num_atoms, noise, generator)
        self.value = Stream(width, behind, self.num_atoms, noise, generator) if config.dueling else None
        self._activated = bool(shared) and not observation.convolved
        self._noisy = [module for module in self.modules() if isinstance(module, NoisyLinear)]

    def initial_state(self, context: Tree) -> Tree:
        """Give None, an empty memory; what has been observed counts from here on."""
        if self.inputs.norm is not None:
            self.inputs.norm.fold()
        return None

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, ...], which count for the normalisation from the next rollout on."""
        self.inputs.observe(split_observation(obs)[0], mask)

    def draw_noise(self, generator: torch.Generator | None, *, silent: bool = False) -> None:
        """Draw the noise of the weights for the next uses; no noise when `silent`."""
        for layer in self._noisy:
            layer.draw_noise(generator, silent=silent)

    def outputs(self, obs: Tree, state: Tree = None, restart: Tensor | None = None) -> tuple[Tensor, Tree]:
        """Estimate the returns of all actions.

        Args:
            obs: [..., *shape], or a mapping with it under "observation"; [B, T, *shape] with a memory.
            state: the memory before the first step; empty when None.
            restart: [B, T] bool, where the memory is emptied before the step.

        Returns:
            ([..., A, N] means (N = 1), logits of the fixed returns, or quantiles; the memory after the last step).
        """
        return self._outputs(obs, state, restart, dropped=self.training, generator=None)

    def state_after(self, trajectory: Trajectory, steps: int) -> Tree:
        """Give the memory before the given step of a trajectory, from its own first state; that one for step 0."""
        if steps == 0:
            return trajectory.state0
        mask = trajectory.mask[:, :steps]
        _, state = self.outputs(map_tree(lambda leaf: leaf[:, :steps], trajectory.obs), trajectory.state0, restarts(mask))
        return map_tree(lambda leaf: leaf.masked_fill(~mask[:, -1:], 0.0), state)

    def values(self, obs: Tree, state: Tree = None) -> Tensor:
        """Give Q(s, a) for each action, [..., A], from obs [..., *shape] ([B, T, *shape] with a memory)."""
        return self.mean_of(self.outputs(obs, state)[0])

    def mean_of(self, outputs: Tensor) -> Tensor:
        """Give the mean return [...] of outputs [..., N]."""
        if self.config.estimate == "mean":
            return outputs.squeeze(-1)
        if self.config.estimate == "quantile":
            return outputs.mean(dim=-1)
        return (outputs.softmax(dim=-1) * self.support).sum(dim=-1)  # a matrix product would be one in bf16 under autocast

    def best(self, outputs: Tensor, obs: Tree) -> Tensor:
        """Give the allowed action with the largest mean, long [...], from outputs [..., A, N]."""
        return _allowed(self.mean_of(outputs), obs).argmax(dim=-1)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row of obs [B, ...], ε-greedily or greedily."""
        self.draw_noise(generator, silent=greedy)
        one_step = obs if self.torso is None else map_tree(lambda leaf: leaf.unsqueeze(1), obs)
        outputs, state = self._outputs(one_step, state, None, dropped=not greedy, generator=generator)
        values = self.mean_of(outputs if self.torso is None else outputs[:, 0])
        allowed = _allowed(values, obs)
        best, action = allowed.max(dim=-1)
        epsilon = 0.0 if greedy else self.epsilon
        if epsilon > 0:
            chance = torch.rand(2, *action.shape, generator=generator, device=action.device)
            action = torch.where(chance[0] < epsilon, _pick(allowed, chance[1]), action)
        return Step(action, _epsilon_greedy_logp(allowed, action, epsilon), best, state)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Estimate the returns of a trajectory's actions; `logp` and `entropy` are 0."""
        obs, state = map_tree(lambda leaf: leaf[:, :-1], trajectory.obs), trajectory.state0
        outputs, _ = self.outputs(obs, state, None if self.torso is None else restarts(trajectory.mask))
        chosen = take_action(outputs, trajectory.action)
        zero = torch.zeros(chosen.shape[:-1], device=chosen.device)
        return Evaluation(zero, zero, self.mean_of(chosen), returns=None if self.config.estimate == "mean" else chosen)

    def _outputs(
        self, obs: Tree, state: Tree, restart: Tensor | None, *, dropped: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tree]:
        dropout = self.config.dropout if dropped else 0.0
        x = self.encoder(self.inputs(split_observation(obs)[0]))
        if self._activated:
            x = x.relu()
        x = drop_units(x, dropout, generator)
        if self.torso is not None:
            memory = self.torso.initial_state(x.shape[0]) if state is None else state
            x, state = self.torso(x, memory, restart)
            x = drop_units(x, dropout, generator)
        outputs = self.advantage(x, dropout, generator).unflatten(-1, (self.num_actions, self.num_atoms))
        if self.value is not None:
            outputs = outputs - outputs.mean(dim=-2, keepdim=True) + self.value(x, dropout, generator).unsqueeze(-2)
        return outputs, state


def take_action(outputs: Tensor, action: Tensor) -> Tensor:
    """Pick the outputs of one action: from [..., A, N] and long [...] to [..., N]."""
    index = action[..., None, None].expand(*action.shape, 1, outputs.shape[-1])
    return outputs.gather(-2, index).squeeze(-2)


def _allowed(values: Tensor, obs: Tree) -> Tensor:
    """Put the values of forbidden actions to -inf."""
    mask = obs.get("action_mask") if isinstance(obs, Mapping) else None
    return values if mask is None else values.masked_fill(~mask.to(values.device), -math.inf)  # type: ignore[union-attr]


def _pick(allowed: Tensor, chance: Tensor) -> Tensor:
    """Pick one of the allowed actions, each as likely: the one in which chance [...] in 0..1 falls."""
    running = (allowed != -math.inf).cumsum(dim=-1)  # values that are NaN forbid nothing
    number = (chance * running[..., -1]).long() + 1
    return (running < number.unsqueeze(-1)).sum(dim=-1).clamp(max=allowed.shape[-1] - 1)


def _epsilon_greedy_logp(allowed: Tensor, action: Tensor, epsilon: float) -> Tensor:
    """Give log(ε / |allowed| + (1 - ε) [a is greedy])."""
    if epsilon == 0:
        return torch.zeros(action.shape, device=action.device)
    number = (allowed != -math.inf).sum(dim=-1)
    greedy = (action == allowed.argmax(dim=-1)).to(allowed.dtype)
    return (epsilon / number + (1 - epsilon) * greedy).log()
