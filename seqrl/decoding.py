"""Writing rows of tokens: the one sampler of token policies, which is the hot path of reinforcement learning from whole texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.policies.tokens import choose_token, draw_uniform, end_tokens, evaluation_mode, first_leaf, is_end, value_of
from seqrl.trajectory import Trajectory, Tree, map_tree

# Dropping ended rows copies the state of the others; below this share of live rows the saved work pays for the copy.
COMPACT_BELOW = 0.9
# Memory is larger, and items without live rows cost only the attention to it.
COMPACT_ITEMS_BELOW = 0.75


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
    """Write rows about a batch of contexts, each encoded once however many rows are drawn about it.

    Rows that have ended are dropped from the computation. Every step draws one number for each of the B rows, ended or
    not, so that with the same generator the actions are those of `seqrl.rollout.unroll` on a `TokenSource`. Dropout is off.

    Args:
        policy: a token policy: `initial_state`, `next_logits`, `begin`, `end` or `ends`, `pad`, `max_tokens`. One with
            `freeze_encoder` also has `encode`, and its trajectory carries the memory in place of the images. For one with
            `shares_memory`, `state["memory"]` keeps one row an item, and `state["item"]` [L] says at which of them each row looks; it
            is not there at the first step, which is taken once an item.
        context: leaves [N, ...].
        num_samples: rows about each context; B = N * num_samples, the rows of a context next to each other.
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
    sampled = 0 if greedy else num_samples
    rows = _write(policy, context, num_samples - sampled, sampled, top_k=top_k, top_p=top_p, forced=forced, generator=generator)
    return rows.trajectory(slice(0, num_samples), group)


@torch.no_grad()
def sample_beside_greedy(
    policy: Any,
    context: Tree,
    *,
    num_samples: int = 1,
    forced: Tensor | None = None,
    group: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Trajectory, Trajectory]:
    """Write rows about each context, and the greedy row to compare them with, in one batch.

    Both are what two calls of `sample` give; the context is encoded once and every step of the policy serves both.

    Args:
        policy: see `sample`.
        context: leaves [N, ...].
        num_samples: rows drawn about each context.
        forced: [N * num_samples, S] or [N, S] long, the first tokens of the drawn rows; greedy rows are never forced.
        group: [N] numbers of the contexts; 0..N-1 when None.
        generator: draws the tokens.

    Returns:
        The drawn rows, N * num_samples, and the N greedy ones.

    Raises:
        ValueError: when an argument is out of range.
    """
    _check_sampling(num_samples, 0, 1.0)
    rows = _write(policy, context, 1, num_samples, forced=forced, generator=generator)
    return rows.trajectory(slice(1, 1 + num_samples), group), rows.trajectory(slice(0, 1), group)


def with_one_end(tokens: Tensor, policy: Any, end: int) -> Tensor:
    """Write `end` for every token that ends a row of a policy, so that metrics and vocabularies need to know only one."""
    return tokens.masked_fill(is_end(tokens, end_tokens(policy)), end)


def _write(
    policy: Any,
    context: Tree,
    num_greedy: int,
    num_sampled: int,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
    forced: Tensor | None,
    generator: torch.Generator | None,
) -> _Rows:
    """Write first greedy, then sampled rows about each context; what is forced are all rows, or the sampled ones where there are both."""
    N, device = first_leaf(context).shape[0], first_leaf(context).device
    both = num_greedy > 0 and num_sampled > 0
    given = None if forced is None else _forced_rows(forced.to(device), N, num_sampled if both else num_greedy + num_sampled)
    with evaluation_mode(policy):
        if getattr(policy, "freeze_encoder", False) and isinstance(context, dict) and "image" in context:
            context = {"memory": policy.encode(context["image"])}
        rows = _Rows(policy, context, num_greedy, num_sampled, given)
        item, state = rows.index // rows.num_each, policy.initial_state(context)
        tokens = torch.full((N,), policy.begin, dtype=torch.long, device=device)
        for step in range(policy.max_tokens):
            noise = rows.to_all(draw_uniform((N * num_sampled,), generator, device), -1) if rows.draws() else None
            logits, state = policy.next_logits(tokens, state)
            if step == 0:  # All rows of an item begin with the same token, so their first step is taken once.
                logits, state = logits.index_select(0, item), rows_of_items(policy, state, item)
            if given is None or step >= given.shape[1]:
                tokens, logp = choose_token(_restrict(logits.float(), top_k, top_p) if top_k or top_p < 1 else logits, noise)
            else:
                tokens = rows.to_all(given[:, step], -1) if both else given[rows.index, step]
                if both:
                    tokens = torch.where(tokens < 0, logits.argmax(dim=1), tokens)
                logp = logits.float().log_softmax(dim=-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
            kept = rows.write(step, tokens, logp, value_of(state, logp))
            if not rows.num_live:
                break
            if kept is not None:
                tokens, state = tokens[kept], keep_rows(policy, state, kept)
    return rows


class _Rows:
    """The rows being written: output for all of them, and which are still in the computation.

    Attributes:
        num_each: rows about each context, greedy ones first.
        index: [L] long, the number among all rows of each row in the computation.
        num_live: how many of these have not ended.
    """

    def __init__(self, policy: Any, context: Tree, num_greedy: int, num_sampled: int, forced: Tensor | None) -> None:
        self.context, self.num_greedy, self.num_each = context, num_greedy, num_greedy + num_sampled
        self.num_contexts, device = first_leaf(context).shape[0], first_leaf(context).device
        self.begin, self.pad, self.ends = policy.begin, policy.pad, end_tokens(policy)
        self.num_forced = 0 if forced is None else forced.shape[1]
        self.num_live = B = self.num_contexts * self.num_each
        # What is written at one step lies together; what follows an end is written, too, and cleared at last.
        self.action = torch.full((policy.max_tokens, B), policy.pad, dtype=torch.long, device=device)
        self.logp, self.value = torch.zeros(policy.max_tokens, B, device=device), torch.zeros(policy.max_tokens, B, device=device)
        self.index = torch.arange(B, device=device)
        # Kept where the loop runs, so that recording a step waits for the device only once.
        self.length, self.places, self.live = torch.zeros(B, dtype=torch.long), torch.arange(B), torch.ones(B, dtype=torch.bool)
        self.sampled = self.places % self.num_each >= num_greedy

    def draws(self) -> bool:
        """Say whether a row is left whose tokens are drawn."""
        return self.num_each > self.num_greedy and (self.num_greedy == 0 or bool((self.live & self.sampled).any()))

    def to_all(self, numbers: Tensor, greedy: float) -> Tensor:
        """Give the rows in the computation [L] their numbers, from those of the sampled rows, and one for all greedy rows."""
        if self.num_greedy:
            numbers = torch.nn.functional.pad(numbers.view(self.num_contexts, -1), (self.num_greedy, 0), value=greedy).flatten()
        return numbers.index_select(0, self.index)

    def write(self, step: int, tokens: Tensor, logp: Tensor, value: Tensor) -> Tensor | None:
        """Record one step [L]; give the positions to keep when it is worthwhile to drop the others."""
        for column, numbers in ((self.action, tokens), (self.logp, logp.float()), (self.value, value.float())):
            column[step].index_copy_(0, self.index, numbers)
        self.length[self.places] += self.live
        self.live &= ~is_end(tokens, self.ends).cpu()
        self.num_live = int(self.live.sum())
        if not 0 < self.num_live < COMPACT_BELOW * self.places.shape[0]:
            return None
        kept = self.live.nonzero().squeeze(1)
        self.places, self.sampled, self.live = self.places[kept], self.sampled[kept], self.live[kept]
        self.index = self.places.to(self.index.device)
        return kept.to(self.index.device)

    def trajectory(self, which: slice, group: Tensor | None) -> Trajectory:
        """Take some of the rows about each context, cut to the longest of them."""
        N, device = self.num_contexts, self.index.device

        def chosen(columns: Tensor) -> Tensor:
            return columns.view(columns.shape[0], N, self.num_each)[:, :, which].flatten(1).t()[:, :T].contiguous()

        length = self.length.view(N, -1)[:, which].flatten()
        T = int(length.max())
        written = torch.arange(T, device=device) < length.to(device).unsqueeze(1)
        action = chosen(self.action).masked_fill(~written, self.pad)
        count = action.shape[0] // N
        # Greedy rows are forced only where all rows are greedy.
        num_forced = self.num_forced if which.start or self.num_each == count else 0
        was_forced = torch.arange(T, device=device) < num_forced
        logp = chosen(self.logp).masked_fill(~written, 0)
        numbers = torch.arange(N, device=device) if group is None else group.to(device)
        return Trajectory(
            action=action,
            logp=logp,
            value=torch.nn.functional.pad(chosen(self.value).masked_fill(~written, 0), (0, 1)),
            reward=torch.zeros_like(logp),
            terminated=torch.arange(1, T + 1, device=device) == length.to(device).unsqueeze(1),
            truncated=torch.zeros_like(written),
            mask=written & ~was_forced,
            obs=torch.cat([torch.full_like(action[:, :1], self.begin), action], dim=1),
            context=repeated(self.context, count),
            group=numbers.repeat_interleave(count),
            imitate=written & was_forced if num_forced else None,
        )


def repeated(tree: Tree, times: int) -> Tree:
    """Repeat each row of a tree, the copies next to each other."""
    return tree if times == 1 else map_tree(lambda leaf: leaf.repeat_interleave(times, dim=0), tree)


def rows_of_items(policy: Any, state: Tree, item: Tensor) -> Tree:
    """Give every row the first state of its item; what `shares_memory` keeps one memory an item and learns which is whose.

    Args:
        policy: a token policy.
        state: its initial state, leaves [N, ...].
        item: [L] long, the item of each row, ascending.
    """
    if not getattr(policy, "shares_memory", False):
        return select(state, item)
    parts: Any = state
    return {name: part if name == "memory" else select(part, item) for name, part in parts.items()} | {"item": item}


def keep_rows(policy: Any, state: Tree, kept: Tensor) -> Tree:
    """Keep the state of some rows, in ascending order, and the memory of their items where it is worthwhile to drop the others."""
    if not getattr(policy, "shares_memory", False):
        return select(state, kept)
    parts: Any = state
    return drop_items({name: part if name == "memory" else select(part, kept) for name, part in parts.items()})


def drop_items(state: dict[str, Any]) -> dict[str, Any]:
    """Leave items without rows out of a memory that is shared, where they are many."""
    items, item = state["item"].unique_consecutive(return_inverse=True)
    if items.shape[0] >= COMPACT_ITEMS_BELOW * first_leaf(state["memory"]).shape[0]:
        return state
    return {**state, "memory": select(state["memory"], items), "item": item}


def select(tree: Tree, rows: Tensor) -> Tree:
    """Take some rows of every leaf."""
    return map_tree(lambda leaf: leaf.index_select(0, rows), tree)


def _check_sampling(num_samples: int, top_k: int, top_p: float) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    if top_k < 0:
        raise ValueError(f"top_k: expected 0 (all tokens) or more, got {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a number in (0, 1], got {top_p}")


def _forced_rows(forced: Tensor, num_contexts: int, num_samples: int) -> Tensor:
    if forced.shape[0] == num_contexts * num_samples:
        return forced
    if forced.shape[0] != num_contexts:
        raise ValueError(f"forced: expected {num_contexts * num_samples} or {num_contexts} rows, got {forced.shape[0]}")
    return forced.repeat_interleave(num_samples, dim=0)


def _restrict(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Forbid all but the k most probable tokens, then all but the smallest set that reaches probability p."""
    nothing = torch.zeros_like(logits, dtype=torch.bool)
    if 0 < top_k < logits.shape[1]:
        # Ties at the border are broken by position, so that exactly k tokens remain.
        kept = nothing.scatter(1, logits.topk(top_k, dim=1).indices, True)
        logits = logits.masked_fill(~kept, float("-inf"))
    if top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        probability = ordered.softmax(dim=1)
        kept = nothing.scatter(1, order, probability.cumsum(dim=1) - probability < top_p)
        logits = logits.masked_fill(~kept, float("-inf"))
    return logits
