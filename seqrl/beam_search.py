"""Beam search for any token policy: the best rows of each item that go on, and the best one that has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seqrl.decoding import drop_items, rows_of_items, select
from seqrl.policies.tokens import end_tokens, evaluation_mode, first_leaf, is_end
from seqrl.trajectory import Tree


@torch.no_grad()
def beam_search(
    policy: Any, context: Tree, *, beam_size: int, length_penalty: float = 0.0, temperature: float | None = None
) -> tuple[list[list[int]], list[float]]:
    """Search the caption a with the largest log p(a) / ((5 + |a|) / 6)^alpha.

    |a| counts the end token. K beams go on for each image; of the K best continuations those that end are kept apart, and
    an image is finished when none of its live beams can still win, as `generate` of transformers has it with
    `early_stopping="never"`. A caption that is not ended at `max_tokens` is scored as it stands. Dropout is off.

    Args:
        policy: a token policy. What its state holds under `memory` must be the same for every row of a context.
        context: leaves [N, ...].
        beam_size: K, the captions kept for each context; with 1 this is greedy decoding.
        length_penalty: alpha; 0 compares plain log-probabilities, larger values favour longer captions.
        temperature: divides the logits in place of the policy's own; None for the policy's own.

    Returns:
        The best caption of each context, without the end token, and its score.

    Raises:
        ValueError: when beam_size is below 1, length_penalty negative or temperature not positive, or the policy has no temperature.

    Source: Wu et al. 2016 (Google's neural machine translation system), length normalisation.
    Differs from: Wu et al. in having no coverage penalty and no pruning.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size: expected at least 1, got {beam_size}")
    if length_penalty < 0:
        raise ValueError(f"length_penalty: expected 0 or more, got {length_penalty}")
    with _at_temperature(policy, temperature):
        beams = Beams(policy, first_leaf(context).shape[0], beam_size, length_penalty, first_leaf(context).device)
        search(policy, context, beams, beams.retire)
    return beams.best, beams.best_score


def search(policy: Any, context: Tree, beams: Beams, retire: Callable[[int], Tensor | None]) -> None:
    """Extend beams token by token, until there are none or `max_tokens` is reached.

    Args:
        policy: a token policy.
        context: leaves [N, ...].
        beams: of all N contexts.
        retire: called after each step; leaves out of the beams what is found, and gives the rows to keep when some were left out.
    """
    with evaluation_mode(policy):
        item, state = beams.image.repeat_interleave(beams.tokens.shape[1]), policy.initial_state(context)
        tokens = torch.full_like(beams.image, policy.begin)
        for step in range(policy.max_tokens):
            logp, state = next_logp_of(policy, tokens, state)
            if step == 0:  # as in `sample`
                logp, state = logp.index_select(0, item), rows_of_items(policy, state, item)
            parents = beams.extend(step, logp)
            rows = retire(step)
            if beams.image.numel() == 0:
                break
            state = reorder(policy, state, parents if rows is None else parents[rows], rows)
            tokens = beams.tokens[:, :, step].flatten()


@contextmanager
def _at_temperature(policy: Any, temperature: float | None) -> Iterator[None]:
    """Let a policy divide its logits by another number for a while."""
    if temperature is None:
        yield
        return
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, or None for the policy's own, got {temperature}")
    if not hasattr(policy, "temperature"):
        raise ValueError(
            f"temperature: {type(policy).__name__} has no attribute of that name to search with {temperature} in its place; leave it out"
        )
    own = policy.temperature
    policy.temperature = temperature
    try:
        yield
    finally:
        policy.temperature = own


def next_logp_of(policy: Any, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
    """Give what a beam adds to its log-probability for each token [B, V]; a policy may have rules of its own for it."""
    if hasattr(policy, "next_logp"):
        return policy.next_logp(tokens, state)  # type: ignore[no-any-return]
    logits, state = policy.next_logits(tokens, state)
    return logits.float().log_softmax(dim=-1), state


def reorder(policy: Any, state: Tree, parents: Tensor, kept: Tensor | None) -> Tree:
    """Give each beam its parent's state; the memory, equal for all beams of an image, only loses the dropped rows."""
    if not isinstance(state, dict):
        return select(state, parents)
    moved: dict[str, Any] = {name: select(part, parents) for name, part in state.items() if name != "memory"}
    if "memory" not in state:
        return moved
    memory = state["memory"]
    if getattr(policy, "shares_memory", False):
        return drop_items({**moved, "memory": memory}) if kept is not None else {**moved, "memory": memory}
    return {**moved, "memory": memory if kept is None else select(memory, kept)}


class Beams:
    """The K best rows of each image that go on, and the best one that has ended.

    Attributes:
        image: [N'] the images still searched.
        tokens: [N', K, max_tokens] rows that go on, best first.
        total: [N', K] their log-probabilities; -inf for places not yet taken.
        best: of each image the best caption, without its end token, once its search is over.
        best_score: its score.
        keep: what takes over the rows that end at a step: (step, [N', K, max_tokens] rows, [N', K] total, [N', K] whether they end).

    Args:
        policy: its end and pad tokens and max_tokens are read.
        num_images: N.
        beam_size: K.
        alpha: of the length penalty.
        device: where the tensors live.
    """

    def __init__(self, policy: Any, num_images: int, beam_size: int, alpha: float, device: torch.device) -> None:
        self.ends, self.pad, self.max_tokens, self.alpha = end_tokens(policy), policy.pad, policy.max_tokens, alpha
        self.keep = self._keep_best
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
        self.keep(step, rows[:, :K], most[:, :K], ends[:, :K])
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

    def _keep_best(self, step: int, rows: Tensor, total: Tensor, ends: Tensor) -> None:
        """Keep the best of the rows [N', K, max_tokens] that end now, where it is better than those before."""
        ends = ends | (step + 1 == self.max_tokens)
        score, place = self._score(total, step + 1).masked_fill(~ends, float("-inf")).max(dim=1)
        better = score > self.ended_score
        found = rows.gather(1, place.view(-1, 1, 1).expand(-1, 1, self.max_tokens)).squeeze(1)
        self.ended_tokens = torch.where(better.unsqueeze(1), found, self.ended_tokens)
        self.ended_length = self.ended_length.masked_fill(better, step + 1)
        self.ended_score = torch.where(better, score, self.ended_score)

    def _score(self, total: Tensor, length: int) -> Tensor:
        return total / ((5 + length) / 6) ** self.alpha
