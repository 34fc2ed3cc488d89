"""A token task and a policy without memory, small enough to compute everything about them by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.distributions import Categorical
from seqrl.rollout import unroll
from seqrl.sources import TokenSource
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

BEGIN, END, LIKED = 0, 1, 3
DEMONSTRATION = [2, 3, 4, END]


class TokenPolicy(nn.Module):
    """The next token depends on the last one only."""

    def __init__(self, num_tokens: int = 6, width: int = 16, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.head, self.critic = nn.Embedding(num_tokens, width), nn.Linear(width, num_tokens), nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)
        self.scale = 1.0  # set to NaN to break the forward pass
        self.modes_of_sampling: set[bool] = set()

    def logp_and_value(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.dropout(self.embedding(tokens))
        return self.head(hidden).log_softmax(-1), self.critic(hidden).squeeze(-1)

    def initial_state(self, context: Tree) -> Tree:
        return None

    def act(self, obs: Tensor, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        self.modes_of_sampling.add(self.training)
        logp, value = self.logp_and_value(obs)
        action = logp.argmax(-1) if greedy else torch.multinomial(logp.exp(), 1, generator=generator).squeeze(1)
        return Step(action, logp.gather(1, action.unsqueeze(1)).squeeze(1), value)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        assert isinstance(trajectory.obs, Tensor)
        logp, value = self.logp_and_value(trajectory.obs[:, :-1])
        chosen = logp.gather(2, trajectory.action.unsqueeze(2)).squeeze(2) * self.scale
        return Evaluation(chosen, -(logp.exp() * logp).sum(-1), value, mean_logp=logp.mean(-1))

    def resample(self, trajectory: Trajectory, generator: torch.Generator) -> Tensor:
        self.modes_of_sampling.add(self.training)
        logp, _ = self.logp_and_value(trajectory.obs[:, :-1])  # type: ignore[index]
        return torch.multinomial(logp.exp().flatten(0, 1), 1, generator=generator).view(trajectory.action.shape)


class AuxPolicy(TokenPolicy):
    """Also wants its critic to say 1 wherever the liked token was written: a mean over few steps, of which some rows have none."""

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        return (trajectory.counted & (trajectory.action == LIKED)).sum().float()

    def forward(self, trajectory: Trajectory) -> Evaluation:
        evaluation = super().forward(trajectory)
        error = (evaluation.value - 1).square()[trajectory.counted & (trajectory.action == LIKED)]
        return dataclasses.replace(evaluation, aux_loss=error.mean() if len(error) else None)


class TablePolicy(nn.Module):
    """One logit for each pair of tokens, and one value for each token: nothing is shared."""

    def __init__(self, num_tokens: int = 6, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.actor, self.critic = nn.Embedding(num_tokens, num_tokens), nn.Embedding(num_tokens, 1)

    def initial_state(self, context: Tree) -> Tree:
        return None

    def act(self, obs: Tensor, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        distribution = Categorical(self.actor(obs))
        action = distribution.mode() if greedy else distribution.sample(generator)
        return Step(action, distribution.logp(action), self.critic(obs).squeeze(-1))

    def forward(self, trajectory: Trajectory) -> Evaluation:
        seen: Any = trajectory.obs
        distribution = Categorical(self.actor(seen[:, :-1]))
        value = self.critic(seen[:, :-1]).squeeze(-1)
        return Evaluation(distribution.logp(trajectory.action), distribution.entropy(), value, distribution=distribution)


class TokenTask:
    """A row scores the share of LIKED among its `max_tokens` places."""

    def __init__(self, num_contexts: int = 8, max_tokens: int = 5) -> None:
        self.num_contexts, self.max_tokens = num_contexts, max_tokens
        self.forced_lengths: list[int] = []

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        group = torch.arange(self.num_contexts).repeat_interleave(num_samples)
        forced = torch.tensor([DEMONSTRATION[:num_forced_steps]] * len(group)) if num_forced_steps else None
        self.forced_lengths.append(num_forced_steps)
        source = TokenSource(len(group), begin=BEGIN, end=END, max_tokens=self.max_tokens)
        rows, _ = unroll(policy, source, max_steps=self.max_tokens, greedy=greedy, generator=generator, group=group, forced=forced)
        ended_before = rows.terminated.cumsum(1) - rows.terminated.long() > 0
        score = ((rows.action == LIKED) & ~ended_before).sum(1) / self.max_tokens
        rows = rows.replace(reward=rows.reward + score.unsqueeze(1) * rows.terminated)
        if num_forced_steps:
            first = torch.arange(rows.num_steps) < num_forced_steps
            rows = rows.replace(imitate=first & ~ended_before)
        if greedy_baseline:
            rows = rows.replace(baseline=self.rollout(policy, greedy=True).score.repeat_interleave(num_samples))
        return rows

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        group = torch.arange(self.num_contexts) if group is None else group
        return demonstrated([DEMONSTRATION] * len(group), group=group)


def by_hand(action: list[list[int]], reward: list[list[float]], lengths: list[int] | None = None, **fields: Any) -> Trajectory:
    """Rows of float64 whose last counted step terminates; sampling log-probabilities are 0 unless given."""
    tokens, rewards = torch.tensor(action), torch.tensor(reward, dtype=torch.float64)
    B, T = tokens.shape
    length = torch.tensor(lengths or [T] * B)
    mask = torch.arange(T) < length.unsqueeze(1)
    settings: dict[str, Any] = {
        "action": tokens,
        "logp": torch.zeros_like(rewards),
        "value": rewards.new_zeros(B, T + 1),
        "reward": rewards,
        "terminated": torch.arange(T) == length.unsqueeze(1) - 1,
        "truncated": torch.zeros_like(mask),
        "mask": mask,
        "obs": torch.cat([torch.full((B, 1), BEGIN), tokens], dim=1),
    }
    return Trajectory(**(settings | fields))


def demonstrated(action: list[list[int]], **fields: Any) -> Trajectory:
    """Rows to imitate."""
    rows = by_hand(action, [[0.0] * len(action[0])] * len(action), **fields)
    rows = rows.replace(logp=rows.logp.float(), value=rows.value.float(), reward=rows.reward.float())
    return rows.replace(mask=torch.zeros_like(rows.mask), imitate=rows.mask)


def gradient_of(trainer: Any, trajectory: Trajectory) -> Tensor:
    """The gradient that one update gives to AdamW, flat, in the order of the policy's parameters; weights are put back."""
    policy = trainer.policy
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    sums = [torch.zeros_like(parameter) for parameter in policy.parameters()]
    hooks = [parameter.register_hook(total.add_) for parameter, total in zip(policy.parameters(), sums, strict=True)]
    trainer.update(trajectory)
    for hook in hooks:
        hook.remove()
    policy.load_state_dict(before)
    return torch.cat([total.flatten() for total in sums])


def flat_weights(policy: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in policy.parameters()])
