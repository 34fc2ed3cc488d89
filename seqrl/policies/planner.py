"""A policy that plans: an ensemble of networks foretells what actions lead to, and the cross-entropy method searches for good ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.distributions import Gaussian
from seqrl.settings import Count, check_settings
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

SMALLEST_STD, LARGEST_LOG_STD, SMALLEST_LOG_STD = 1e-3, 0.5, -3.0
SMOOTHING = 0.02  # of the shares of discrete actions, so that none dies out within a search


@dataclass
class PlannerConfig:
    """How far and how long is planned, and by how many networks.

    Attributes:
        num_models: networks of the ensemble.
        horizon: actions looked ahead.
        num_candidates: plans tried in a round of the search.
        num_elites: best plans of a round, which the next one is drawn around.
        num_rounds: rounds for each action.
    """

    num_models: Count = 3
    horizon: Count = 15
    num_candidates: Count = 100
    num_elites: Count = 10
    num_rounds: Count = 3

    def __post_init__(self) -> None:
        check_settings(self)
        if self.num_elites > self.num_candidates:
            raise ValueError(f"num_elites: expected at most num_candidates {self.num_candidates}, got {self.num_elites}")


class DynamicsEnsemble(nn.Module):
    """Foretells N(μ, σ²) of the change of an observation and of the reward, and the probability that the episode ends, K times.

    Args:
        num_inputs: D, size of an observation.
        num_actions: A, size of an action's vector.
        hidden_sizes: of the layers between.
        num_models: K.
        generator: draws the initial weights.

    Source: Chua et al. 2018 (Deep reinforcement learning in a handful of trials using probabilistic dynamics models).
    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self, num_inputs: int, num_actions: int, hidden_sizes: tuple[int, ...], num_models: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        sizes = [num_inputs + num_actions, *hidden_sizes, 2 * (num_inputs + 1) + 1]
        self.weights = nn.ParameterList(
            torch.randn(num_models, before, after, generator=generator) / before**0.5
            for before, after in zip(sizes, sizes[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(num_models, 1, after) for after in sizes[1:])
        for name, size in (("input", num_inputs), ("target", num_inputs + 1)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def set_scale(self, obs: Tensor, target: Tensor) -> None:
        """Have observations [N, D] and targets [N, D+1] come with mean 0 and deviation 1."""
        for name, rows in (("input", obs), ("target", target)):
            getattr(self, f"{name}_mean").copy_(rows.mean(dim=0))
            getattr(self, f"{name}_std").copy_(rows.std(dim=0).clamp(min=SMALLEST_STD))

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give mean and log-deviation [K, N, D+1] of the scaled change and reward, and the logit [K, N] of an end.

        Args:
            obs: [K, N, D], for each network its own.
            action: [K, N, A].
        """
        hidden = torch.cat([(obs - self.input_mean) / self.input_std, action], dim=-1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = torch.baddbmm(bias, hidden if weight is self.weights[0] else F.silu(hidden), weight)
        mean, log_std, end = hidden.split([self.target_mean.shape[0], self.target_mean.shape[0], 1], dim=-1)
        return mean, log_std.clamp(SMALLEST_LOG_STD, LARGEST_LOG_STD), end.squeeze(-1)

    def foretell(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the mean next observation [K, N, D], the mean reward [K, N] and the probability of an end [K, N]."""
        mean, _, end = self(obs, action)
        scaled = self.target_mean + self.target_std * mean
        return obs + scaled[..., :-1], scaled[..., -1], end.sigmoid()

    def loss(self, obs: Tensor, action: Tensor, target: Tensor, ended: Tensor) -> Tensor:
        """Give the mean over steps of -log N(target; μ, σ²) - log P(ended), added up over the networks, [].

        Args:
            obs: [K, N, D], for each network its own steps.
            action: [K, N, A].
            target: [K, N, D+1] changes and rewards, in their units.
            ended: [K, N], 1.0 where the episode ended.
        """
        mean, log_std, end = self(obs, action)
        scaled = (target - self.target_mean) / self.target_std
        ends = F.binary_cross_entropy_with_logits(end, ended, reduction="none")
        return (ends - Gaussian(mean, log_std).logp(scaled)).mean(dim=1).sum()


class Planner(nn.Module):
    """Takes the first action of the plan a_0..a_{H-1} with the largest mean return over an ensemble's networks.

    The search keeps a distribution over plans: candidates are drawn, and it moves to the mean and the deviation of the best of them, or
    to the shares of their actions where actions are numbered. The plan of the last step, moved on by one, begins the next search.
    Until the ensemble has been fitted once, actions are drawn evenly.

    Args:
        num_inputs: size of an observation.
        hidden_sizes: of the ensemble's layers.
        config: see `PlannerConfig`.
        num_actions: A numbered actions; 0 where `bounds` are given.
        bounds: [2, A] least and largest of each dimension of an action.
        generator: draws the initial weights.

    Source: Chua et al. 2018 (Deep reinforcement learning in a handful of trials using probabilistic dynamics models); the search:
    de Boer et al. 2005 (A tutorial on the cross-entropy method).
    Differs from: Chua et al., in plans that follow each network's mean, without its noise, and in rewards and ends that are learned, too.
    """

    is_value_based, has_distribution = True, False
    low: Tensor
    high: Tensor
    num_fits: Tensor

    def __init__(
        self,
        num_inputs: int,
        hidden_sizes: tuple[int, ...],
        config: PlannerConfig,
        *,
        num_actions: int = 0,
        bounds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.num_actions = config, num_actions
        self.register_buffer("low", torch.zeros(num_actions) if bounds is None else bounds[0].clone())
        self.register_buffer("high", torch.ones(num_actions) if bounds is None else bounds[1].clone())
        self.register_buffer("num_fits", torch.zeros((), dtype=torch.long))
        self.model = DynamicsEnsemble(num_inputs, len(self.low), hidden_sizes, config.num_models, generator=generator)

    def initial_state(self, context: Tree) -> Tree:
        """Give None: the plan that a search begins with is zeros, and `act` knows its shape."""
        return None

    def encode(self, action: Tensor) -> Tensor:
        """Give actions as vectors [..., A] in -1..1: one-hot where they are numbered, else by their bounds."""
        if self.num_actions:
            return F.one_hot(action, self.num_actions).float()
        return (2 * (action - self.low) / (self.high - self.low) - 1).clamp(-1, 1)

    def decode(self, vector: Tensor) -> Tensor:
        """Give the actions of vectors [..., A]."""
        if self.num_actions:
            return vector.argmax(dim=-1)
        return self.low + (vector + 1) / 2 * (self.high - self.low)

    @torch.no_grad()
    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Plan for observations [B, D]; a search draws from a generator of its own where none is given."""
        assert isinstance(obs, Tensor)
        obs = obs.flatten(1).float()
        B, H, A = obs.shape[0], self.config.horizon, len(self.low)
        plan = torch.zeros(B, H, A, device=obs.device) if state is None else state
        assert isinstance(plan, Tensor)
        generator = generator or torch.Generator(obs.device).manual_seed(0)
        zeros = torch.zeros(B, device=obs.device)
        if int(self.num_fits) == 0:
            chance = torch.rand(B, A, generator=generator, device=obs.device)
            return Step(self.decode(chance if self.num_actions else 2 * chance - 1), zeros, zeros, plan)
        plan = self._search(obs, plan, generator)
        return Step(self.decode(plan[:, 0]), zeros, zeros, torch.cat([plan[:, 1:], plan[:, -1:]], dim=1))

    def _search(self, obs: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        """Give the best plan [B, H, A] that is found around a first one, its action a vector each."""
        spread = torch.full_like(mean, 0.5)
        for _ in range(self.config.num_rounds):
            plans = self._draw(mean, spread, self.config.num_candidates, generator)
            best = self.imagined_return(obs, plans).topk(self.config.num_elites, dim=1).indices
            elites = plans.gather(1, best[:, :, None, None].expand(-1, -1, *plans.shape[2:]))
            mean, spread = elites.mean(dim=1), elites.std(dim=1, correction=0)
        return mean

    def _draw(self, mean: Tensor, spread: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw plans [B, count, H, A] around a mean [B, H, A]: Gaussian vectors, or actions by their shares in it."""
        B, H, A = mean.shape
        if self.num_actions:
            shares = (mean + SMOOTHING).unsqueeze(1).expand(B, count, H, A).reshape(-1, A)
            return F.one_hot(torch.multinomial(shares, 1, generator=generator), A).float().view(B, count, H, A)
        noise = torch.randn(B, count, H, A, generator=generator, device=mean.device)
        return (mean.unsqueeze(1) + spread.unsqueeze(1) * noise).clamp(-1, 1)

    def imagined_return(self, obs: Tensor, plans: Tensor) -> Tensor:
        """Give Σ_t r_t Π_{u<t} (1 - P(end_u)) of each plan, the mean over the networks, [B, P].

        Args:
            obs: [B, D].
            plans: [B, P, H, A] vectors of actions.
        """
        B, P, H, A = plans.shape
        K = self.config.num_models
        seen = obs[:, None].expand(B, P, -1).reshape(1, B * P, -1).expand(K, -1, -1)
        total, going_on = torch.zeros(K, B * P, device=obs.device), torch.ones(K, B * P, device=obs.device)
        for step in range(H):
            action = plans[:, :, step].reshape(1, B * P, A).expand(K, -1, -1)
            seen, reward, end = self.model.foretell(seen, action)
            total = total + going_on * reward
            going_on = going_on * (1 - end)
        return total.mean(dim=0).view(B, P)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Give zeros: a plan has no probability that could be learned; the ensemble learns by `DynamicsEnsemble.loss`."""
        zeros = torch.zeros(trajectory.action.shape[:2], device=trajectory.reward.device)
        return Evaluation(zeros, zeros, zeros)
