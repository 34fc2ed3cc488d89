"""Writing captions: sampling, which is the hot path of reinforcement learning, and beam search for evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqrl.policies import choose_token, draw_uniform, end_tokens, evaluation_mode, first_leaf, is_end, value_of
from seqrl.tasks.captioning.beams import Beams
from seqrl.trajectory import Trajectory, Tree, map_tree

# Compacting copies the state of the live rows; below this share of live rows the saved work pays for the copy.
COMPACT_BELOW = 0.75


@torch.no_grad()
def sample(
    policy: Any,
    context: Tree,
    *,
    num_samples: int = 1,
    greedy: bool = False,
    top_k: int = 0,
    top_p: float = 1.0,
    forced: Tensor | None = None,
    group: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Write captions for a batch of contexts, each encoded once however many captions are drawn from it.

    Rows that have ended are dropped from the computation. Every step draws one number for each of the B rows, ended or
    not, so that with the same generator the actions are those of `seqrl.rollout.unroll` on a `TokenSource`. Dropout is off.

    Args:
        policy: a token policy: `initial_state`, `next_logits`, `begin`, `end` or `ends`, `pad`, `max_tokens`. One with
            `freeze_encoder` also has `encode`, and its trajectory carries the memory in place of the images.
        context: leaves [N, ...].
        num_samples: captions of each context; B = N * num_samples, the rows of a context next to each other.
        greedy: take the most probable token.
        top_k: choose among the k most probable tokens only; 0 for all.
        top_p: choose among the most probable tokens whose probabilities reach p together (nucleus sampling).
        forced: [B, S] or [N, S] long, taken as the first S tokens; marked as `imitate`, not counted by `mask`.
        group: [N] numbers of the contexts; 0..N-1 when None.
        generator: draws the tokens.

    Returns:
        Trajectory of B rows with T <= max_tokens, rewards 0. `logp` is that of the distribution that was drawn from,
        so with top_k or top_p it is larger than the policy's own.

    Raises:
        ValueError: when an argument is out of range.

    Source: top_p: Holtzman et al. 2020 (The curious case of neural text degeneration); top_k: Fan et al. 2018 (Hierarchical
    neural story generation).
    """
    _check_sampling(num_samples, top_k, top_p)
    with evaluation_mode(policy):
        N = first_leaf(context).shape[0]
        if getattr(policy, "freeze_encoder", False) and isinstance(context, dict) and "image" in context:
            context = {"memory": policy.encode(context["image"])}
        state = _repeat(policy.initial_state(context), num_samples)
        rows = _Rows(policy, N * num_samples, first_leaf(context).device)
        forced = _forced_rows(forced, N, num_samples)
        tokens = torch.full_like(rows.index, policy.begin)
        for step in range(policy.max_tokens):
            noise = None if greedy else draw_uniform((N * num_samples,), generator, tokens.device)[rows.index]
            logits, state = policy.next_logits(tokens, state)
            given = None if forced is None or step >= forced.shape[1] else forced[rows.index, step]
            if given is None:
                tokens, logp = choose_token(_restrict(logits.float(), top_k, top_p), noise)
            else:
                tokens, logp = given, logits.float().log_softmax(dim=-1).gather(1, given.unsqueeze(1)).squeeze(1)
            kept = rows.write(step, tokens, logp, value_of(state, logp), forced=given is not None)
            if rows.num_live == 0:
                break
            if kept is not None:
                tokens, state = tokens[kept], _select(state, kept)
    numbers = torch.arange(N, device=tokens.device) if group is None else group
    return rows.trajectory(_repeat(context, num_samples), numbers.repeat_interleave(num_samples))


@torch.no_grad()
def beam_search(policy: Any, context: Tree, *, beam_size: int, length_penalty: float = 0.0) -> tuple[list[list[int]], list[float]]:
    """Search the caption a with the largest log p(a) / ((5 + |a|) / 6)^alpha.

    |a| counts the end token. K beams go on for each image; of the K best continuations those that end are kept apart, and
    an image is finished when none of its live beams can still win, as `generate` of transformers has it with
    `early_stopping="never"`. A caption that is not ended at `max_tokens` is scored as it stands. Dropout is off.

    Args:
        policy: a token policy. What its state holds under `memory` must be the same for every row of a context.
        context: leaves [N, ...].
        beam_size: K, the captions kept for each context; with 1 this is greedy decoding.
        length_penalty: alpha; 0 compares plain log-probabilities, larger values favour longer captions.

    Returns:
        The best caption of each context, without the end token, and its score.

    Raises:
        ValueError: when beam_size is below 1 or length_penalty negative.

    Source: Wu et al. 2016 (Google's neural machine translation system), length normalisation.
    Differs from: Wu et al. in having no coverage penalty and no pruning.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size: expected at least 1, got {beam_size}")
    if length_penalty < 0:
        raise ValueError(f"length_penalty: expected 0 or more, got {length_penalty}")
    with evaluation_mode(policy):
        state = _repeat(policy.initial_state(context), beam_size)
        beams = Beams(policy, first_leaf(context).shape[0], beam_size, length_penalty, first_leaf(context).device)
        tokens = torch.full((beams.total.numel(),), policy.begin, dtype=torch.long, device=beams.total.device)
        for step in range(policy.max_tokens):
            logp, state = _next_logp(policy, tokens, state)
            parents = beams.extend(step, logp)
            rows = beams.retire(step)
            if beams.image.numel() == 0:
                break
            state = _reorder(state, parents if rows is None else parents[rows], rows)
            tokens = beams.tokens[:, :, step].flatten()
    return beams.best, beams.best_score


def _next_logp(policy: Any, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
    """Give what a beam adds to its log-probability for each token [B, V]; a policy may have rules of its own for it."""
    if hasattr(policy, "next_logp"):
        return policy.next_logp(tokens, state)  # type: ignore[no-any-return]
    logits, state = policy.next_logits(tokens, state)
    return logits.float().log_softmax(dim=-1), state


def with_one_end(tokens: Tensor, policy: Any, end: int) -> Tensor:
    """Write `end` for every token that ends a row of a policy, so that metrics and vocabularies need to know only one."""
    return tokens.masked_fill(is_end(tokens, end_tokens(policy)), end)


class _Rows:
    """The rows being written: output for all of them, and which are still in the computation.

    Attributes:
        index: [L] long, the original row of each row in the computation.
        num_live: how many of these have not ended.
    """

    def __init__(self, policy: Any, num_rows: int, device: torch.device) -> None:
        shape = (num_rows, policy.max_tokens)
        self.begin, self.ends = policy.begin, end_tokens(policy)
        self.action = torch.full(shape, policy.pad, dtype=torch.long, device=device)
        self.logp = torch.zeros(shape, device=device)
        self.value = torch.zeros(num_rows, policy.max_tokens + 1, device=device)
        self.written = torch.zeros(shape, dtype=torch.bool, device=device)
        self.num_forced = 0
        self.index = torch.arange(num_rows, device=device)
        self.live = torch.ones(num_rows, dtype=torch.bool, device=device)
        self.num_live = num_rows
        self.num_steps = 0

    def write(self, step: int, tokens: Tensor, logp: Tensor, value: Tensor, *, forced: bool) -> Tensor | None:
        """Record one step [L]; give the positions to keep when it is worthwhile to drop the others."""
        index = self.index[self.live]
        self.action[index, step] = tokens[self.live]
        self.logp[index, step] = logp[self.live]
        self.value[index, step] = value[self.live]
        self.written[index, step] = True
        self.num_forced += forced
        self.num_steps = step + 1
        self.live = self.live & ~is_end(tokens, self.ends)
        self.num_live = int(self.live.sum())
        if not 0 < self.num_live < COMPACT_BELOW * self.index.shape[0]:
            return None
        kept = self.live.nonzero().squeeze(1)
        self.index = self.index[kept]
        self.live = self.live[kept]
        return kept

    def trajectory(self, context: Tree, group: Tensor) -> Trajectory:
        """Cut the output to the longest row."""
        T = self.num_steps
        action, written = self.action[:, :T], self.written[:, :T]
        was_forced = torch.arange(T, device=action.device) < self.num_forced
        return Trajectory(
            action=action,
            logp=self.logp[:, :T],
            value=self.value[:, : T + 1],
            reward=torch.zeros_like(self.logp[:, :T]),
            terminated=written & ~F.pad(written[:, 1:], [0, 1]),
            truncated=torch.zeros_like(written),
            mask=written & ~was_forced,
            obs=torch.cat([torch.full_like(action[:, :1], self.begin), action], dim=1),
            context=context,
            group=group,
            imitate=written & was_forced if self.num_forced else None,
        )


def _check_sampling(num_samples: int, top_k: int, top_p: float) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    if top_k < 0:
        raise ValueError(f"top_k: expected 0 (all tokens) or more, got {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a number in (0, 1], got {top_p}")


def _forced_rows(forced: Tensor | None, num_contexts: int, num_samples: int) -> Tensor | None:
    if forced is None or forced.shape[0] == num_contexts * num_samples:
        return forced
    if forced.shape[0] != num_contexts:
        raise ValueError(f"forced: expected {num_contexts * num_samples} or {num_contexts} rows, got {forced.shape[0]}")
    return forced.repeat_interleave(num_samples, dim=0)


def _repeat(tree: Tree, times: int) -> Tree:
    return tree if times == 1 else map_tree(lambda leaf: leaf.repeat_interleave(times, dim=0), tree)


def _select(tree: Tree, rows: Tensor) -> Tree:
    return map_tree(lambda leaf: leaf.index_select(0, rows), tree)


def _reorder(state: Tree, parents: Tensor, kept: Tensor | None) -> Tree:
    """Give each beam its parent's state; the memory, equal for all beams of an image, only loses the dropped rows."""
    if not isinstance(state, dict):
        return _select(state, parents)
    return {
        name: (part if kept is None else _select(part, kept)) if name == "memory" else _select(part, parents)
        for name, part in state.items()
    }


def _restrict(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Forbid all but the k most probable tokens, then all but the smallest set that reaches probability p."""
    if 0 < top_k < logits.shape[1]:
        # Ties at the border are broken by position, so that exactly k tokens remain.
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.topk(top_k, dim=1).indices, True)
        logits = logits.masked_fill(~kept, float("-inf"))
    if top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        probability = ordered.softmax(dim=1)
        before = probability.cumsum(dim=1) - probability
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, order, before < top_p)
        logits = logits.masked_fill(~kept, float("-inf"))
    return logits
