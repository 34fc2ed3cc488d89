"""Several rows about each context by beam search, for whoever chooses among them or learns from them."""

from __future__ import annotations

from typing import Any

import torch

from seqrl.beam_search import next_logp_of, reorder
from seqrl.decoding import rows_of_items, sample
from seqrl.policies.tokens import end_tokens, evaluation_mode, first_leaf, is_end
from seqrl.trajectory import Trajectory, Tree


@torch.no_grad()
def n_best(policy: Any, context: Tree, *, beam_size: int, num_rows: int) -> list[list[tuple[list[int], float]]]:
    """Search rows that end, the K best continuations that go on at each step, until each context has as many as are wanted.

    Args:
        policy: a token policy, see `seqrl.beam_search.beam_search`.
        context: leaves [N, ...].
        beam_size: K.
        num_rows: wanted for each context; where `max_tokens` comes first, there may be fewer, and one that is not ended where none is.

    Returns:
        For each context rows without their end token, with the mean log-probability of their tokens, the end among them; best first.

    Raises:
        ValueError: when a number is below 1.
    """
    for name, number in (("beam_size", beam_size), ("num_rows", num_rows)):
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")
    ends = end_tokens(policy)
    found = _search(policy, context, beam_size, num_rows)
    return [[(row[:-1] if row[-1] in ends else row, score) for row, score in each] for each in found]


@torch.no_grad()
def best_rows(policy: Any, context: Tree, *, num_rows: int, group: torch.Tensor | None = None) -> Trajectory:
    """Write the best rows of a beam search of that width, as `seqrl.decoding.sample` writes drawn ones.

    Args:
        policy: see `n_best`.
        context: leaves [N, ...].
        num_rows: rows about each context; where fewer are found, the worst of them stands there again.
        group: [N] numbers of the contexts; 0..N-1 when None.

    Returns:
        Trajectory of B = N * num_rows rows, best first, rewards 0, `logp` the policy's own.

    Source: Edunov et al. 2018 (Classical structured prediction losses for sequence to sequence learning), candidates by beam search.
    """
    found = _search(policy, context, num_rows, num_rows)
    rows = [each[min(place, len(each) - 1)][0] for each in found for place in range(num_rows)]
    tokens = torch.full((len(rows), max(map(len, rows))), policy.pad)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    written = sample(policy, context, num_samples=num_rows, forced=tokens, group=group)
    return written.replace(mask=written.counted, imitate=None)


def _search(policy: Any, context: Tree, beam_size: int, num_rows: int) -> list[list[tuple[list[int], float]]]:
    """Do what `n_best` does; rows keep their end tokens."""
    device, N, K, ends = first_leaf(context).device, first_leaf(context).shape[0], beam_size, end_tokens(policy)
    found: list[list[tuple[list[int], float]]] = [[] for _ in range(N)]
    rows = torch.full((N, K, 0), policy.pad, dtype=torch.long, device=device)
    total = torch.full((N, K), float("-inf"), device=device)
    total[:, 0] = 0  # only one of the equal first rows may be extended
    first = K * torch.arange(N, device=device).unsqueeze(1)
    with evaluation_mode(policy):
        item, state = torch.arange(N, device=device).repeat_interleave(K), policy.initial_state(context)
        tokens = torch.full((N,), policy.begin, device=device)
        for step in range(policy.max_tokens):
            logp, state = next_logp_of(policy, tokens, state)
            if step == 0:
                logp, state = logp.index_select(0, item), rows_of_items(policy, state, item)
            V = logp.shape[1]
            most, place = (total.unsqueeze(2) + logp.view(N, K, V)).flatten(1).topk(min(K * (1 + len(ends)), K * V), dim=1)
            parent, token = place // V, place % V
            longer = torch.cat([rows.gather(1, parent.unsqueeze(2).expand(-1, -1, step)), token.unsqueeze(2)], dim=2)
            ended = is_end(token, ends)
            _keep(found, longer[:, :K], most[:, :K], ended[:, :K])
            if all(len(each) >= num_rows for each in found):
                break
            total, chosen = most.masked_fill(ended, float("-inf")).topk(K, dim=1)
            rows = longer.gather(1, chosen.unsqueeze(2).expand(-1, -1, step + 1))
            state = reorder(policy, state, (parent.gather(1, chosen) + first).flatten(), None)
            tokens = rows[:, :, -1].flatten()
    for index, each in enumerate(found):
        if not each:
            each.append((rows[index, 0].tolist(), float(total[index, 0]) / policy.max_tokens))
    return [sorted(each, key=lambda row: -row[1])[:num_rows] for each in found]


def _keep(found: list[list[tuple[list[int], float]]], rows: torch.Tensor, total: torch.Tensor, ended: torch.Tensor) -> None:
    for index, place in (ended & total.isfinite()).nonzero().tolist():
        row = rows[index, place].tolist()
        found[index].append((row, float(total[index, place]) / len(row)))
