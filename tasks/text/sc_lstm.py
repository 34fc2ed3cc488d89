"""The semantically conditioned LSTM: it carries what is still to be said beside its state, and a reading gate takes away what was said."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.policies.token_evaluation import LinearHead, evaluate_tokens
from seqrl.policies.tokens import act_on_tokens, check_token_settings, input_tokens, never_right, resample_tokens
from seqrl.tasks.writing.memory import distinct_memory_of, memory_of
from seqrl.trajectory import Evaluation, Trajectory, Tree

# How much the hidden state says in the reading gate, and the weights of the cost of consuming several slots in one step.
ALPHA, ETA, XI = 0.5, 1e-4, 100.0


class SemanticLSTM(nn.Module):
    """One layer of the semantically conditioned LSTM.

    i, f, o = sigmoid(W_i w_t + U_i h_{t-1} + b_i), ... for f and o,  c' = tanh(W_c w_t + U_c h_{t-1} + b_c)
    r_t = sigmoid(W_r w_t + alpha U_r h_{t-1} + b_r),  d_t = r_t d_{t-1}
    c_t = f c_{t-1} + i c' + tanh(W_d d_t),  h_t = o tanh(c_t)

    Args:
        num_slots: size A of d, what is to be said.
        dim: size D of words and state.
        alpha: how much the hidden state says in the reading gate.

    Source: Wen et al. 2015 (Semantically conditioned LSTM-based natural language generation for spoken dialogue systems), the cell.
    Differs from: a bias of 2 in the reading gate at first, so that most of d is still there when the words of a slot come.
    """

    def __init__(self, num_slots: int, dim: int, *, alpha: float = ALPHA) -> None:
        super().__init__()
        self.sizes, self.alpha = [3 * dim, dim, num_slots], alpha
        self.word, self.hidden = nn.Linear(dim, sum(self.sizes)), nn.Linear(dim, sum(self.sizes), bias=False)
        self.slots = nn.Linear(num_slots, dim, bias=False)
        nn.init.constant_(self.word.bias[-num_slots:].detach(), 2.0)

    def forward(self, from_word: Tensor, hidden: Tensor, cell: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make a step.

        Args:
            from_word: [B, 4 D + A], what `word` gives for w_t.
            hidden: [B, D].
            cell: [B, D].
            left: [B, A], d_{t-1}.

        Returns:
            hidden and cell state, and d_t.
        """
        from_hidden = self.hidden(hidden)
        word, said = from_word.split(self.sizes, dim=1), from_hidden.split(self.sizes, dim=1)
        enter, forget, leave = (word[0] + said[0]).sigmoid().chunk(3, dim=1)
        left = (word[2] + self.alpha * said[2]).sigmoid() * left
        cell = forget * cell + enter * (word[1] + said[1]).tanh() + self.slots(left).tanh()
        return leave * cell.tanh(), cell, left


class SemanticPolicy(nn.Module):
    """Replies by the semantically conditioned LSTM; what is to be said, d_0, is how often each token stands in the prompt.

    It teaches itself to say all and each thing in its time: beside the cross-entropy of a demonstrated row of T steps stands

    |d_T| + sum_t eta xi^|d_t - d_{t-1}|

    as an auxiliary loss over the demonstrated steps. Rows that it has sampled say nothing about what should be left.

    Args:
        vocabulary_size: V, the size A of d, too.
        dim: size D of words and state.
        dropout: of words and features.
        max_tokens: longest reply, end token included.
        temperature: divides the logits.
        tie_embeddings: use the embeddings as the output matrix, too.
        critic: also estimate values, from features that the critic does not shape.
        begin: token before the first action.
        end: token that ends a reply; in a prompt it says nothing.
        pad: token after the end.
        unknown: token of words that are not in the vocabulary, where there is one.

    Source: Wen et al. 2015 (Semantically conditioned LSTM-based natural language generation for spoken dialogue systems), the cost.
    Differs from: Wen et al. stack layers and rescore by a backward network; d_0 counts the tokens of any prompt.
    """

    has_distribution = False
    act = act_on_tokens

    def __init__(
        self,
        vocabulary_size: int,
        *,
        dim: int,
        dropout: float,
        max_tokens: int,
        temperature: float = 1.0,
        tie_embeddings: bool = True,
        critic: bool = False,
        begin: int = 1,
        end: int = 2,
        pad: int = 0,
        unknown: int | None = None,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        self.begin, self.end, self.pad, self.max_tokens, self.temperature = begin, end, pad, max_tokens, temperature
        self.wrong = never_right((end,), begin, pad, unknown)
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        nn.init.normal_(self.token_embedding.weight, std=0.1)
        self.lstm = SemanticLSTM(vocabulary_size, dim)
        self.output = nn.Linear(dim, vocabulary_size, bias=False)
        if tie_embeddings:
            self.output.weight = self.token_embedding.weight
        self.dropout = nn.Dropout(dropout)
        self.critic = nn.Linear(dim, 1) if critic else None

    def encode(self, prompts: Any) -> dict[str, Tensor]:
        """Count the tokens of prompts, `tokens` [N, S] and `mask` [N, S]: `slots` [N, V]."""
        tokens, mask = prompts["tokens"], prompts["mask"]
        counted = (mask & (tokens != self.end)).to(self.output.weight.dtype)
        return {"slots": counted.new_zeros(tokens.shape[0], self.output.out_features).scatter_add_(1, tokens, counted)}

    def initial_state(self, context: Tree) -> Tree:
        """Give what is to be said and an empty state, from a context with `image`, the prompts, or `memory`."""
        left = memory_of(self, context)["slots"]
        empty = left.new_zeros(left.shape[0], self.token_embedding.embedding_dim)
        return {"left": left, "hidden": empty, "cell": empty, **({} if self.critic is None else {"value": empty[:, 0]})}

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of what follows tokens [B], and the next state."""
        before: Any = state
        hidden, cell, left = self.lstm(self._words(tokens), before["hidden"], before["cell"], before["left"])
        features = self.dropout(hidden)
        following: dict[str, Tree] = {"left": left, "hidden": hidden, "cell": cell}
        if self.critic is not None:
            following["value"] = self.critic(features.detach()).squeeze(-1)
        return self.output(features) / self.temperature, following

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory, and what was left of the demonstrated ones."""
        features, left, consumed = self._read(trajectory)
        value = None if self.critic is None else self.critic(features.detach()).squeeze(-1)
        head = LinearHead(self.output.weight, temperature=self.temperature)
        evaluation = evaluate_tokens(features, head, trajectory, value, wrong=self.wrong)
        if not torch.is_grad_enabled() or trajectory.imitate is None:
            return evaluation
        cost = self._cost(trajectory.imitate & self._demonstrated(trajectory), left, consumed)
        return dataclasses.replace(evaluation, aux_loss=cost)

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the steps of demonstrated rows, [1]."""
        if trajectory.imitate is None:
            return torch.zeros(1, device=trajectory.action.device)
        return (trajectory.imitate & self._demonstrated(trajectory)).sum().float().view(1)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self.output(self._read(trajectory)[0]) / self.temperature, generator)

    def _words(self, tokens: Tensor) -> Tensor:
        return self.lstm.word(self.dropout(self.token_embedding(tokens)))  # type: ignore[no-any-return]

    def _read(self, trajectory: Trajectory) -> tuple[Tensor, Tensor, Tensor]:
        """Read whole rows: features [B, T, D], and by step what is left, |d_t|, and what was taken, |d_t - d_{t-1}|, [B, T] each."""
        tokens = input_tokens(trajectory, self.begin)
        memory, place = distinct_memory_of(self, trajectory)
        left = memory["slots"] if place is None else memory["slots"][place]
        hidden = cell = left.new_zeros(left.shape[0], self.token_embedding.embedding_dim)
        words, steps = self._words(tokens), []
        for step in range(tokens.shape[1]):
            before = left
            hidden, cell, left = self.lstm(words[:, step], hidden, cell, left)
            steps.append((hidden, torch.linalg.vector_norm(left, dim=1), torch.linalg.vector_norm(left - before, dim=1)))
        states, remaining, consumed = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
        return self.dropout(states), remaining, consumed

    def _demonstrated(self, trajectory: Trajectory) -> Tensor:
        """Say which rows are demonstrations as a whole, [B, 1]: a sampled row with a forced beginning is none."""
        return ~trajectory.mask.any(dim=1, keepdim=True)

    def _cost(self, shown: Tensor, left: Tensor, consumed: Tensor) -> Tensor:
        """Average over the demonstrated steps [B, T] what is left at each row's last one, and what is consumed at once; [1]."""
        last = shown & ~torch.cat([shown[:, 1:], torch.zeros_like(shown[:, :1])], dim=1)
        total = torch.where(last, left, 0.0).sum() + ETA * torch.where(shown, XI**consumed, 0.0).sum()
        return (total / shown.sum().clamp(min=1)).view(1)
