"""The rows of a beam search: the best ones that go on, and the best one of each image that has ended."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.policies import end_tokens, is_end


class Beams:
    """The K best rows of each image that go on, and the best one that has ended.

    Attributes:
        image: [N'] the images still searched.
        tokens: [N', K, max_tokens] rows that go on, best first.
        total: [N', K] their log-probabilities; -inf for places not yet taken.
        best: of each image the best caption, without its end token, once its search is over.
        best_score: its score.

    Args:
        policy: its end and pad tokens and max_tokens are read.
        num_images: N.
        beam_size: K.
        alpha: of the length penalty.
        device: where the tensors live.
    """

    def __init__(self, policy: Any, num_images: int, beam_size: int, alpha: float, device: torch.device) -> None:
        self.ends, self.pad, self.max_tokens, self.alpha = end_tokens(policy), policy.pad, policy.max_tokens, alpha
        # Where a rule may add to a log-probability, what a row can still reach has no bound.
        self.bounded = not getattr(policy, "may_gain", False)
        self.image = torch.arange(num_images, device=device)
        self.tokens = torch.full((num_images, beam_size, policy.max_tokens), policy.pad, dtype=torch.long, device=device)
        self.total = torch.full((num_images, beam_size), float("-inf"), device=device)
        # Only one of the equal first rows may be extended, else all would stay equal.
        self.total[:, 0] = 0
        self.ended_tokens = self.tokens[:, 0].clone()
        self.ended_score = torch.full((num_images,), float("-inf"), device=device)
        self.ended_length = torch.zeros(num_images, dtype=torch.long, device=device)
        self.best: list[list[int]] = [[] for _ in range(num_images)]
        self.best_score = [float("-inf")] * num_images

    def extend(self, step: int, logp: Tensor) -> Tensor:
        """Replace the rows by their K best continuations that go on; give each new row's parent row [N' * K].

        Of the K best continuations those that end are kept apart, so that they take no place from the others.

        Args:
            step: number of tokens before.
            logp: [N' * K, V] what each token adds.
        """
        (N, K), V = self.total.shape, logp.shape[1]
        total = (self.total.unsqueeze(2) + logp.view(N, K, V)).flatten(1)
        # Each row has as many continuations that end as there are end tokens.
        most, place = total.topk(min(K * (1 + len(self.ends)), K * V), dim=1)
        parent, token = place // V, place % V
        rows = self.tokens.gather(1, parent.unsqueeze(2).expand(-1, -1, self.max_tokens))
        rows[:, :, step] = token
        ends = is_end(token, self.ends)
        self._keep_ended(step, rows[:, :K], most[:, :K], ends[:, :K] | (step + 1 == self.max_tokens))
        self.total, chosen = most.masked_fill(ends, float("-inf")).topk(K, dim=1)
        self.tokens = rows.gather(1, chosen.unsqueeze(2).expand(-1, -1, self.max_tokens))
        return (parent.gather(1, chosen) + K * torch.arange(N, device=parent.device).unsqueeze(1)).flatten()

    def retire(self, step: int) -> Tensor | None:
        """Store the results of the images whose search is over; give the rows to keep when some were dropped."""
        # A row that goes on can reach no more than by going to max_tokens at no cost.
        bound = self._score(self.total[:, 0], self.max_tokens)
        over = (self.ended_score >= bound) & self.ended_score.isfinite() & self.bounded
        if self.total.shape[1] == 1:
            over |= self.ended_score.isfinite()
        if step + 1 == self.max_tokens:
            over = torch.ones_like(over)
        if not bool(over.any()):
            return None
        for row in over.nonzero().flatten().tolist():
            image, tokens = int(self.image[row]), self.ended_tokens[row, : int(self.ended_length[row])].tolist()
            self.best[image] = tokens[:-1] if tokens and tokens[-1] in self.ends else tokens
            self.best_score[image] = float(self.ended_score[row])
        kept = (~over).nonzero().squeeze(1)
        for name in ("image", "tokens", "total", "ended_tokens", "ended_score", "ended_length"):
            setattr(self, name, getattr(self, name)[kept])
        K = self.total.shape[1]
        return (kept.unsqueeze(1) * K + torch.arange(K, device=kept.device)).flatten()

    def _keep_ended(self, step: int, rows: Tensor, total: Tensor, ends: Tensor) -> None:
        """Keep the best of the rows [N', K, max_tokens] that end now, where it is better than those before."""
        score, place = self._score(total, step + 1).masked_fill(~ends, float("-inf")).max(dim=1)
        better = score > self.ended_score
        found = rows.gather(1, place.view(-1, 1, 1).expand(-1, 1, self.max_tokens)).squeeze(1)
        self.ended_tokens = torch.where(better.unsqueeze(1), found, self.ended_tokens)
        self.ended_length = self.ended_length.masked_fill(better, step + 1)
        self.ended_score = torch.where(better, score, self.ended_score)

    def _score(self, total: Tensor, length: int) -> Tensor:
        return total / ((5 + length) / 6) ** self.alpha
