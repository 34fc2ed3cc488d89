"""Policies that are tables, for observations that are numbers: action values Q(s, a), or probabilities π(a | s)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqrl.distributions import Categorical
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


class ActionValueTable(nn.Module):
    """Acts ε-greedily on a table of action values.

    π(a | s) = ε / A + (1 - ε) [a is best] / (number of best actions); a greedy action is the first best one.

    Nothing here has a gradient: `seqrl.trainers.q_table` changes the table itself.

    Args:
        num_observations: S.
        num_actions: A.
        first_value: of every entry. One above all that can be earned makes the policy try every action.

    Source: Sutton & Barto 2018 (Reinforcement learning, 2nd edition), sections 2.6 (optimistic first values) and 6.4.
    """

    is_value_based = True
    values: Tensor

    def __init__(self, num_observations: int, num_actions: int, *, first_value: float = 0.0) -> None:
        super().__init__()
        self.epsilon = 0.0
        self.register_buffer("values", torch.full((num_observations, num_actions), first_value, dtype=torch.float64))

    def initial_state(self, context: Tree) -> Tree:
        """Give None: there is no memory."""
        return None

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each number of obs [B]; `annotate` computes what else a step has."""
        assert isinstance(obs, Tensor)
        values = self.values[obs]
        if greedy:
            return Step(values.argmax(dim=1), None, None)
        # The largest of A random numbers, among the best actions or, by chance, among all.
        draw = torch.rand(values.shape[0], values.shape[1] + 1, generator=generator)
        allowed = (values == values.amax(dim=1, keepdim=True)) | (draw[:, -1:] < self.epsilon)
        return Step(torch.where(allowed, draw[:, :-1], -1.0).argmax(dim=1), None, None)

    def annotate(self, trajectory: Trajectory) -> Trajectory:
        """Set the log-probabilities [B, T] of sampled actions and the best action's values [B, T+1]."""
        values, probabilities = self._look_up(trajectory.obs)
        logp = probabilities[:, :-1].gather(2, trajectory.action.unsqueeze(2)).squeeze(2).log()
        return trajectory.replace(logp=logp.float(), value=values.amax(dim=2).float())

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the actions of a trajectory whose obs is [B, T+1]; `value` is that of the best action."""
        filled = self.annotate(trajectory)
        distribution = Categorical(self._look_up(trajectory.obs)[1][:, :-1].float().log())
        return Evaluation(filled.logp, distribution.entropy(), filled.value[:, :-1])

    def _look_up(self, obs: Tree) -> tuple[Tensor, Tensor]:
        """Give action values and probabilities, [..., A] each."""
        assert isinstance(obs, Tensor)
        values = self.values[obs]
        best = values == values.amax(dim=-1, keepdim=True)
        return values, self.epsilon / values.shape[-1] + (1 - self.epsilon) * best / best.sum(dim=-1, keepdim=True)


class ProbabilityTable(nn.Module):
    """Chooses actions by a table of probabilities, π(a | s) = softmax(logits[s])_a, beside a table of state values.

    The cross-entropy method sets it by counting; any trainer with a policy gradient can follow gradients instead, and then the values
    are its critic.

    Args:
        num_observations: S.
        num_actions: A.

    Source: Sutton & Barto 2018 (Reinforcement learning, 2nd edition), section 13.1 (a preference for each state and action).
    """

    def __init__(self, num_observations: int, num_actions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_observations, num_actions))
        self.critic = nn.Embedding.from_pretrained(torch.zeros(num_observations, 1), freeze=False)

    def initial_state(self, context: Tree) -> Tree:
        """Give None: there is no memory."""
        return None

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each number of obs [B]; `annotate` computes what else a step has."""
        assert isinstance(obs, Tensor)
        distribution = Categorical(self.logits[obs.to(self.logits.device)])
        return Step(distribution.mode() if greedy else distribution.sample(generator), None, None)

    @torch.no_grad()
    def annotate(self, trajectory: Trajectory) -> Trajectory:
        """Set the log-probabilities [B, T] and the state values [B, T+1]."""
        assert isinstance(trajectory.obs, Tensor)
        obs = trajectory.obs.to(self.logits.device)
        return trajectory.replace(logp=Categorical(self.logits[obs[:, :-1]]).logp(trajectory.action), value=self.critic(obs).squeeze(-1))

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the actions of a trajectory whose obs is [B, T+1]."""
        assert isinstance(trajectory.obs, Tensor)
        obs = trajectory.obs[:, :-1].to(self.logits.device)
        distribution = Categorical(self.logits[obs])
        mean_logp = distribution.logits.log_softmax(dim=-1).mean(dim=-1)
        logp, entropy = distribution.logp(trajectory.action), distribution.entropy()
        return Evaluation(logp, entropy, self.critic(obs).squeeze(-1), mean_logp=mean_logp, distribution=distribution)

    @torch.no_grad()
    def count(self, trajectory: Trajectory, *, smoothing: float, mixing: float) -> None:
        """Move towards the shares of the actions that count.

        π(a | s) <- m (n(s, a) + λ) / (Σ_b n(s, b) + λ A) + (1 - m) π(a | s), where s was seen at all

        Args:
            trajectory: rows whose steps in `counted` are counted; obs [B, T+1].
            smoothing: λ, added to each count.
            mixing: m, in 0..1, the weight of the shares; the rest is the old table's.

        Source: Laplace smoothing and mixing in the cross-entropy method: de Boer et al. 2005 (A tutorial on the cross-entropy
        method), smoothed updating.
        Differs from: the paper, in states that no elite has seen: they keep their probabilities.
        """
        assert isinstance(trajectory.obs, Tensor)
        S, A = self.logits.shape
        chosen = trajectory.counted.to(self.logits.device)
        places = (trajectory.obs[:, :-1].to(chosen.device) * A + trajectory.action.to(chosen.device))[chosen]
        counts = torch.bincount(places, minlength=S * A).view(S, A).double()
        total = counts.sum(dim=1, keepdim=True)
        shares = (counts + smoothing) / (total + smoothing * A).clamp(min=1e-12)
        probabilities = mixing * shares + (1 - mixing) * self.logits.double().softmax(dim=1)
        # A probability of 0 would have an infinite logarithm.
        self.logits.copy_(torch.where(total > 0, probabilities.clamp(min=1e-30).log().to(self.logits.dtype), self.logits))
