"""The policy of the on-policy agents: an actor that gives a distribution over actions, and a critic that gives a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from seqrl.distributions import Categorical, Gaussian, Joint, MultiCategorical, SquashedGaussian
from seqrl.policies.encoders import Inputs, Memory, ObservationSize, Trunk, TrunkAndHead
from seqrl.policies.networks import MLP, restarts
from seqrl.settings import Count, Limit, Positive, check_settings
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree

ActionDistribution = Categorical | MultiCategorical | Gaussian | SquashedGaussian | Joint
LOG_STD_LIMITS = (-10.0, 2.0)
LogStd = Annotated[float, Limit("a number from -10 to 2", lambda value: LOG_STD_LIMITS[0] <= value <= LOG_STD_LIMITS[1])]


@dataclass(frozen=True)
class ActionSize:
    """What one action looks like; one of the three is set, or num_actions and num_dimensions for both at once.

    Attributes:
        num_actions: of a single choice, an action being a number.
        choices: sizes of several choices, an action being one number for each.
        num_dimensions: of a continuous action. After a choice it is the rest of a row that starts with the chosen number.
        bounds: the smallest and the largest number of each dimension that the environment tells apart; () where it is not known.
    """

    num_actions: int = 0
    choices: tuple[int, ...] = ()
    num_dimensions: int = 0
    bounds: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if bool(self.choices) == bool(self.num_actions or self.num_dimensions):
            raise ValueError(f"expected one of num_actions, choices and num_dimensions, or the first and the last, got {self}")

    @property
    def num_outputs(self) -> int:
        """Numbers that say where the distribution lies: logits, means, or both."""
        return self.num_actions + sum(self.choices) + self.num_dimensions

    @property
    def max_entropy(self) -> float | None:
        """Entropy of choosing at random, nats; None for continuous actions, whose entropy has no limit."""
        return None if self.num_dimensions else sum(math.log(size) for size in self.choices or (self.num_actions,))


@dataclass
class ActorCriticConfig:
    """Settings of an actor-critic; the defaults are those that did best in large comparisons (Andrychowicz et al. 2021).

    Attributes:
        activation: "tanh" or "relu", between layers.
        shared_trunk: one encoder for actor and critic, as for Atari, rather than one each.
        memory: "lstm" or "gru" between encoder and heads, for what cannot be told from one observation, else "none".
        memory_size: units of the memory.
        code_size: outputs of the convolutions, which take the place of the hidden layers where the observations are frames or a
            picture, and stand before them where there are several parts.
        normalise_observations: scale observations by their running mean and deviation, see `seqrl.policies.encoders.RunningNorm`.
        squash: continuous actions are tanh(u) with u Gaussian, scaled to the environment's bounds, instead of clipped to them.
        state_dependent_std: let the deviation of continuous actions depend on what is seen, rather than be one learned number
            a dimension.
        first_log_std: logarithm of the first deviation, in the unit of the action.
        hidden_gain: scale of the orthogonal initial weights between layers.
        actor_gain: the same of the actor's last layer; small, so that it starts near uniform.
        critic_gain: the same of the critic's last layer.
    """

    activation: Literal["tanh", "relu"] = "tanh"
    shared_trunk: bool = False
    memory: Memory = "none"
    memory_size: Count = 64
    code_size: Count = 512
    normalise_observations: bool = False
    squash: bool = False
    state_dependent_std: bool = False
    first_log_std: LogStd = 0.0
    hidden_gain: Positive = math.sqrt(2.0)
    actor_gain: Positive = 0.01
    critic_gain: Positive = 1.0

    def __post_init__(self) -> None:
        check_settings(self)


class ActorCritic(nn.Module):
    """Draws actions from pi(a|s) and estimates v(s).

    A single choice is drawn from softmax(actor(s)), several choices independently of each other; continuous actions from a
    Gaussian with mean actor(s), squashed where asked; a choice with a continuous action from both, see `Joint`. Observations are
    a tensor, or a mapping of "observation" and "action_mask" (bool [..., A], True where an action is allowed): forbidden actions
    get the logit -inf.

    With a trunk each for actor and critic, and no memory, sampling runs the actor alone; `annotate` computes what it leaves out.

    Args:
        observation: see `seqrl.policies.encoders.ObservationSize`.
        actions: see `ActionSize`.
        hidden_sizes: sizes of the layers between; not for frames or a picture alone.
        config: see `ActorCriticConfig`.
        generator: draws the initial weights; PyTorch's own when None.

    Raises:
        ValueError: when a setting and the sizes do not go together.

    Source: Schulman et al. 2017 (Proximal policy optimization algorithms), comparison of surrogate objectives; initial weights and
    separate trunks: Andrychowicz et al. 2021 (What matters for on-policy deep actor-critic methods?), section 3.2; action masks:
    Huang & Ontañón 2022 (A closer look at invalid action masking in policy gradient algorithms).
    """

    def __init__(
        self,
        observation: ObservationSize,
        actions: ActionSize,
        hidden_sizes: Sequence[int] = (64, 64),
        config: ActorCriticConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or ActorCriticConfig()
        for name in ("squash", "state_dependent_std"):
            if getattr(config, name) and not actions.num_dimensions:
                raise ValueError(f"{name}: expected an environment with continuous actions, got discrete ones; switch it off")
        self.is_recurrent, self.max_entropy = config.memory != "none", actions.max_entropy
        self.actions, self.inputs = actions, Inputs(observation, normalise=config.normalise_observations)
        self._has_trunk = config.shared_trunk or self.is_recurrent or observation.convolved
        num_outputs = actions.num_outputs + (actions.num_dimensions if config.state_dependent_std else 0)
        activation = torch.tanh if config.activation == "tanh" else torch.relu
        given: dict[str, Any] = {"activation": activation, "generator": generator}

        def trunk() -> Trunk:
            """Make what lies below a head."""
            memory = config.memory, config.memory_size
            return Trunk(observation, hidden_sizes, *memory, code_size=config.code_size, gain=config.hidden_gain, **given)

        def branch(num_outputs: int, gain: float) -> MLP | TrunkAndHead:
            """Make an actor or a critic: a head under a trunk that is shared, one with a trunk of its own, or an MLP."""
            gains: dict[str, Any] = {"hidden_gain": config.hidden_gain, "output_gain": gain}
            if not self._has_trunk:
                return MLP(observation.num_inputs, hidden_sizes, num_outputs, **gains, **given)
            below = self.trunk or trunk()
            head = MLP(below.num_outputs, [], num_outputs, **gains, **given)
            return TrunkAndHead(below, head) if self.trunk is None else head

        self.trunk = trunk() if config.shared_trunk else None
        self.actor, self.critic = branch(num_outputs, config.actor_gain), branch(1, config.critic_gain)
        own_std = actions.num_dimensions and not config.state_dependent_std
        self.log_std = nn.Parameter(torch.full((actions.num_dimensions,), config.first_log_std)) if own_std else None

    def initial_state(self, context: Tree) -> Tree:
        """Give None, an empty memory; what has been observed counts from here on."""
        if self.inputs.norm is not None:
            self.inputs.norm.fold()
        return None

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, ...], which count for the normalisation from the next rollout on."""
        self.inputs.observe(split_observation(obs)[0], mask)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row of obs [B, ...]; greedy takes the most probable one."""
        if not self._has_trunk:  # `annotate` gives the rest, for all steps at once
            distribution = self._distribution(self.actor(self._inputs(obs)), obs)
            return Step(distribution.mode() if greedy else distribution.sample(generator), None, None)
        if self.is_recurrent:
            outputs, value, state = self._run(map_tree(lambda leaf: leaf.unsqueeze(1), obs), state)
            outputs, value = outputs[:, 0], value[:, 0]
        else:
            outputs, value, _ = self._run(obs)
        distribution = self._distribution(outputs, obs)
        action = distribution.mode() if greedy else distribution.sample(generator)
        return Step(action, distribution.logp(action), value, state)

    @torch.no_grad()
    def annotate(self, trajectory: Trajectory) -> Trajectory:
        """Set logp [B, T] and value [B, T+1] of a rollout whose steps left them out."""
        x, obs = self._inputs(trajectory.obs), _without_last(trajectory.obs)
        logp = self._distribution(self.actor(x[:, :-1]), obs).logp(trajectory.action)
        return trajectory.replace(logp=logp, value=self.critic(x).squeeze(-1).float())

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the actions of a trajectory whose obs is [B, T+1, ...]."""
        obs = _without_last(trajectory.obs)
        restart = restarts(trajectory.counted) if self.is_recurrent else None
        outputs, value, _ = self._run(obs, trajectory.state0, restart)
        distribution = self._distribution(outputs, obs)
        logp, entropy = distribution.logp(trajectory.action), distribution.entropy()
        imitates = trajectory.imitate is not None
        mean_logp = distribution.mean_logp() if imitates and isinstance(distribution, Categorical) else None
        return Evaluation(logp, entropy, value, mean_logp=mean_logp, distribution=distribution)

    def _inputs(self, obs: Tree) -> Tensor:
        return self.inputs(obs if isinstance(obs, Tensor) else split_observation(obs)[0])

    def _run(self, obs: Tree, state: Tree = None, restart: Tensor | None = None) -> tuple[Tensor, Tensor, Tree]:
        """Give the actor's outputs [..., N], the value [...], and the memory afterwards."""
        x, after = self._inputs(obs), None
        if self.trunk is not None:
            x, after = self.trunk(x, state, restart)
        if isinstance(self.actor, MLP) and isinstance(self.critic, MLP):
            outputs, value = self.actor(x), self.critic(x)
        else:
            before = state if isinstance(state, Mapping) else {"actor": None, "critic": None}
            outputs, actor_after = self.actor(x, before["actor"], restart)
            value, critic_after = self.critic(x, before["critic"], restart)
            after = {"actor": actor_after, "critic": critic_after} if self.is_recurrent else None
        # Under autocast the heads give half precision; what is made of their outputs is in full precision.
        return outputs, value.squeeze(-1).float(), after

    def _distribution(self, outputs: Tensor, obs: Tree) -> ActionDistribution:
        """Make the distribution of outputs [..., N], without the actions that obs forbids."""
        outputs, num_logits = outputs.float(), self.actions.num_actions
        if not self.actions.num_dimensions:
            return self._choice(outputs, obs)
        if not num_logits:
            return self._vector(outputs)
        choice = self._choice(outputs[..., :num_logits], obs)
        assert isinstance(choice, Categorical)
        return Joint(choice, self._vector(outputs[..., num_logits:]))

    def _vector(self, outputs: Tensor) -> Gaussian | SquashedGaussian:
        """Make the distribution of continuous actions."""
        if self.log_std is None:
            mean, offset = outputs.chunk(2, dim=-1)
            log_std = (self.config.first_log_std + offset).clamp(*LOG_STD_LIMITS)
        else:
            mean, log_std = outputs, self.log_std
        return SquashedGaussian(mean, log_std) if self.config.squash else Gaussian(mean, log_std)

    def _choice(self, logits: Tensor, obs: Tree) -> Categorical | MultiCategorical:
        """Make the distribution of one choice or several."""
        mask = None if isinstance(obs, Tensor) else split_observation(obs)[1]
        if mask is not None:
            logits = forbid(logits, mask.to(logits.device, torch.bool), self.actions.choices)
        return MultiCategorical(logits, self.actions.choices) if self.actions.choices else Categorical(logits)


def forbid(logits: Tensor, mask: Tensor, choices: Sequence[int] = ()) -> Tensor:
    """Set logits to -inf where the mask is False; a choice of which nothing is allowed, as on a dummy step, keeps its own.

    Args:
        logits: [..., N].
        mask: the same shape, bool.
        choices: sizes of the choices that the last dimension is made of; one choice when empty.
    """
    parts = mask.split(list(choices), dim=-1) if choices else (mask,)
    allowed = torch.cat([part | ~part.any(dim=-1, keepdim=True) for part in parts], dim=-1)
    return logits.masked_fill(~allowed, -math.inf)


def split_observation(obs: Tree) -> tuple[Tensor, Tensor | None]:
    """Part what is seen from the mask of allowed actions, where there is one.

    Raises:
        TypeError: when an observation is something else.
    """
    if isinstance(obs, Tensor):
        return obs, None
    if isinstance(obs, Mapping) and isinstance(obs.get("observation"), Tensor):
        mask = obs.get("action_mask")
        return obs["observation"], mask if isinstance(mask, Tensor) else None  # type: ignore[return-value]
    raise TypeError(f"expected a tensor, or a mapping of observation and action_mask, got a {type(obs).__name__}")


def _without_last(obs: Tree) -> Tree:
    """Cut [B, T+1, ...] to [B, T, ...]."""
    return map_tree(lambda leaf: leaf[:, :-1], obs)
