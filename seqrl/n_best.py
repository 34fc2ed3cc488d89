"""Several rows about each context by beam search, for whoever chooses among them or learns from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqrl.beam_search import Beams, search
from seqrl.decoding import sample
from seqrl.policies.tokens import end_tokens, first_leaf
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
def best_rows(policy: Any, context: Tree, *, num_rows: int, group: Tensor | None = None) -> Trajectory:
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
    leaf = first_leaf(context)
    beams = Beams(policy, leaf.shape[0], beam_size, 0.0, leaf.device)
    found: list[list[tuple[list[int], float]]] = [[] for _ in range(leaf.shape[0])]

    def keep(step: int, rows: Tensor, total: Tensor, ends: Tensor) -> None:
        ended = ends & total.isfinite()
        # Taken from the device in one piece: asking for each row by itself costs more than the search.
        items, written, scores = ended.nonzero()[:, 0].tolist(), rows[ended][:, : step + 1].tolist(), total[ended].tolist()
        for index, row, score in zip(items, written, scores, strict=True):
            found[index].append((row, score / (step + 1)))

    def stop_with_enough(step: int) -> None:
        if all(len(each) >= num_rows for each in found):
            beams.image = beams.image[:0]

    beams.keep = keep
    search(policy, context, beams, stop_with_enough)
    for index, each in enumerate(found):
        if not each:
            each.append((beams.tokens[index, 0].tolist(), float(beams.total[index, 0]) / policy.max_tokens))
    return [sorted(each, key=lambda row: -row[1])[:num_rows] for each in found]
