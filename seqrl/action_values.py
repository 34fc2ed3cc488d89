"""A policy made of action values: it estimates the return that follows each action, and takes the action with the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.networks import MLP, NatureCNN, RecurrentTorso, frame_channels, initialise_orthogonal, restarts
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree

Estimate = Literal["mean", "categorical", "quantile"]
Memory = Literal["none", "lstm", "gru"]


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
        noisy: explore by learned noise on the weights behind the encoder instead of by chance actions (Fortunato et al. 2018).
        noise: first deviation of that noise, divided by the root of a layer's number of inputs.
        dropout: share of hidden units that are left out while exploring, and in updates; exploration by dropout (Gal &
            Ghahramani 2016). 0 switches it off.
        memory: "lstm" or "gru" for what cannot be told from one observation (Hausknecht & Stone 2015), else "none".
        memory_size: units of it.
    """

    estimate: Estimate = "mean"
    num_atoms: int = 51
    value_min: float = 0.0
    value_max: float = 200.0
    dueling: bool = False
    noisy: bool = False
    noise: float = 0.5
    dropout: float = 0.0
    memory: Memory = "none"
    memory_size: int = 64

    def __post_init__(self) -> None:
        for name, choices in (("estimate", get_args(Estimate)), ("memory", get_args(Memory))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.num_atoms < 2 or self.memory_size < 1:
            raise ValueError(f"num_atoms, memory_size: expected at least 2 and 1, got {self.num_atoms} and {self.memory_size}")
        if self.value_min >= self.value_max:
            raise ValueError(f"value_min, value_max: expected a rising pair, got {self.value_min} and {self.value_max}")
        if not 0.0 <= self.dropout < 1.0 or self.noise < 0.0:
            raise ValueError(f"dropout, noise: expected 0 to below 1 and no negative number, got {self.dropout} and {self.noise}")


class NoisyLinear(nn.Module):
    """A linear layer whose weights are disturbed by noise of learned size: y = (W + S ∘ f(ε_out) f(ε_in)ᵀ) x + b + s ∘ f(ε_out).

    f(x) = sign(x) √|x|, ε normal. Without noise drawn, or after `draw_noise(None)`, it is the plain layer.

    Args:
        num_inputs: size of the input's last dimension.
        num_outputs: size of the output's last dimension.
        noise: first size of the noise, times √num_inputs.
        gain: of the orthogonal first weights.
        generator: draws the first weights; PyTorch's own when None.

    Source: Fortunato et al. 2018 (Noisy networks for exploration), factorised Gaussian noise.
    Differs from: the paper, in orthogonal first weights, like all networks here.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(
        self, num_inputs: int, num_outputs: int, *, noise: float = 0.5, gain: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.mean = nn.Linear(num_inputs, num_outputs)
        initialise_orthogonal(self.mean, gain, generator)
        self.weight_noise = nn.Parameter(torch.full((num_outputs, num_inputs), noise / math.sqrt(num_inputs)))
        self.bias_noise = nn.Parameter(torch.full((num_outputs,), noise / math.sqrt(num_inputs)))
        # Drawn anew before each use, so there is nothing to save.
        self.register_buffer("noise_in", torch.zeros(num_inputs), persistent=False)
        self.register_buffer("noise_out", torch.zeros(num_outputs), persistent=False)

    def draw_noise(self, generator: torch.Generator | None, *, silent: bool = False) -> None:
        """Draw the noise of the next uses; no noise when `silent`."""
        for buffer in (self.noise_in, self.noise_out):
            if silent:
                buffer.zero_()
            else:
                draw = torch.randn(buffer.shape, generator=generator, device=buffer.device)
                buffer.copy_(draw.sign() * draw.abs().sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs]."""
        weight = self.mean.weight + self.weight_noise * torch.outer(self.noise_out, self.noise_in)
        return F.linear(x, weight, self.mean.bias + self.bias_noise * self.noise_out)


class ActionValues(nn.Module):
    """Estimates Q(s, a) for each of a number of actions and acts ε-greedily on it.

    Q(s, a) is the estimate, or the mean of the estimated distribution. With `dueling` Q = V + A - mean_a A, atom by atom.
    A sampled action is a chance one with probability `epsilon`, else, like a greedy one, argmax_a Q(s, a).

    The last of the `hidden_sizes` belongs to the streams behind the encoder, of which dueling has two; what is noisy is in
    the streams. Frames of 84x84 are encoded by the Nature CNN, with its 512 outputs in the place of the hidden layers. With a memory, it
    stands between all hidden layers and the streams.

    Args:
        observation_shape: of one observation; () where it is a number.
        num_actions: A.
        hidden_sizes: of the layers between; may be empty, which with one-hot inputs makes a table.
        config: see `ActionValuesConfig`.
        num_observations: how many different numbers there are, where an observation is one; 0 where it is not.
        generator: draws the weights; PyTorch's own when None.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods; streams: Wang et al. 2016 (Dueling
    network architectures for deep reinforcement learning), eq. 9; memory: Hausknecht & Stone 2015 (Deep recurrent Q-learning
    for partially observable MDPs); dropout: Gal & Ghahramani 2016 (Dropout as a Bayesian approximation), reinforcement learning.
    """

    support: Tensor
    acts_by_value = True  # so that trainers of probabilities refuse it

    def __init__(
        self,
        observation_shape: Sequence[int],
        num_actions: int,
        hidden_sizes: Sequence[int] = (64, 64),
        config: ActionValuesConfig | None = None,
        *,
        num_observations: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or ActionValuesConfig()
        self.shape, self.num_actions, self.num_observations = tuple(observation_shape), num_actions, num_observations
        self.epsilon = 0.0
        self.num_atoms = 1 if config.estimate == "mean" else config.num_atoms
        self.register_buffer("support", torch.linspace(config.value_min, config.value_max, config.num_atoms), persistent=False)
        frames = frame_channels(self.shape)
        shared, behind = list(hidden_sizes), []
        if frames:
            shared = [512]
        elif config.memory == "none":
            shared, behind = shared[:-1], shared[-1:]
        num_inputs = num_observations or math.prod(self.shape)
        self.encoder: nn.Module = nn.Identity()
        if frames:
            self.encoder = NatureCNN(frames, shared[-1], generator=generator)
        elif shared:
            self.encoder = MLP(num_inputs, shared[:-1], shared[-1], activation=F.relu, output_gain=math.sqrt(2.0), generator=generator)
        width = shared[-1] if shared else num_inputs
        self.torso = None
        if config.memory != "none":
            self.torso = RecurrentTorso(config.memory, width, config.memory_size, generator=generator)
            width = config.memory_size
        self.advantage = _Stream(width, behind, num_actions * self.num_atoms, config, generator)
        self.value = _Stream(width, behind, self.num_atoms, config, generator) if config.dueling else None
        self._activated = bool(shared) and not frames
        self._frames = bool(frames)
        self._noisy = [module for module in self.modules() if isinstance(module, NoisyLinear)]

    def initial_state(self, context: Tree) -> Tree:
        """Give None: an empty memory, whatever the number of rows."""
        return None

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
        return outputs.softmax(dim=-1) @ self.support

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
        x = self.encoder(self._inputs(obs))
        if self._activated:
            x = x.relu()
        x = _drop(x, dropout, generator)
        if self.torso is not None:
            memory = self.torso.initial_state(x.shape[0]) if state is None else state
            x, state = self.torso(x, memory, restart)
            x = _drop(x, dropout, generator)
        outputs = self.advantage(x, dropout, generator).unflatten(-1, (self.num_actions, self.num_atoms))
        if self.value is not None:
            outputs = outputs - outputs.mean(dim=-2, keepdim=True) + self.value(x, dropout, generator).unsqueeze(-2)
        return outputs, state

    def _inputs(self, obs: Tree) -> Tensor:
        """Give float [..., num_inputs], or the frames as they are."""
        seen = obs["observation"] if isinstance(obs, Mapping) else obs
        assert isinstance(seen, Tensor)
        seen = seen.to(self.support.device)
        if self._frames:
            return seen
        if self.num_observations:
            return F.one_hot(seen.long(), self.num_observations).to(self.support.dtype)
        return seen.to(self.support.dtype).reshape(*seen.shape[: seen.ndim - len(self.shape)], -1)


def take_action(outputs: Tensor, action: Tensor) -> Tensor:
    """Pick the outputs of one action: from [..., A, N] and long [...] to [..., N]."""
    index = action[..., None, None].expand(*action.shape, 1, outputs.shape[-1])
    return outputs.gather(-2, index).squeeze(-2)


class _Stream(nn.Module):
    """The layers behind the encoder, noisy ones where they are asked for."""

    def __init__(
        self, num_inputs: int, hidden: Sequence[int], num_outputs: int, config: ActionValuesConfig, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        sizes = [num_inputs, *hidden, num_outputs]
        self.layers = nn.ModuleList()
        for index, (here, there) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            gain = 0.01 if index == len(hidden) else math.sqrt(2.0)
            if config.noisy:
                self.layers.append(NoisyLinear(here, there, noise=config.noise, gain=gain, generator=generator))
            else:
                layer = nn.Linear(here, there)
                initialise_orthogonal(layer, gain, generator)
                self.layers.append(layer)

    def forward(self, x: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
        """Map [..., num_inputs] to [..., num_outputs]."""
        for layer in self.layers[:-1]:
            x = _drop(layer(x).relu(), dropout, generator)
        return self.layers[-1](x)


def _drop(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the units to 0 and the others higher, so that the mean stays."""
    if share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)


def _allowed(values: Tensor, obs: Tree) -> Tensor:
    """Put the values of forbidden actions to -inf."""
    mask = obs.get("action_mask") if isinstance(obs, Mapping) else None
    return values if mask is None else values.masked_fill(~mask.to(values.device), -math.inf)  # type: ignore[union-attr]


def _pick(allowed: Tensor, chance: Tensor) -> Tensor:
    """Pick one of the allowed actions, each as likely: the one in which chance [...] in 0..1 falls."""
    running = (allowed > -math.inf).cumsum(dim=-1)
    number = (chance * running[..., -1]).long() + 1
    return (running < number.unsqueeze(-1)).sum(dim=-1)


def _epsilon_greedy_logp(allowed: Tensor, action: Tensor, epsilon: float) -> Tensor:
    """Give log(ε / |allowed| + (1 - ε) [a is greedy])."""
    if epsilon == 0:
        return torch.zeros(action.shape, device=action.device)
    number = (allowed > -math.inf).sum(dim=-1)
    greedy = (action == allowed.argmax(dim=-1)).to(allowed.dtype)
    return (epsilon / number + (1 - epsilon) * greedy).log()
