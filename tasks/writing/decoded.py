"""What a policy writes about a fixed set of contexts, as words: the most probable token each time, or by beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from seqrl.beam_search import beam_search
from seqrl.decoding import sample, with_one_end
from seqrl.policies.tokens import end_tokens, is_end
from seqrl.tasks.writing.memory import context_of
from seqrl.tasks.writing.vocabulary import AnyVocabulary
from seqrl.trajectory import Tree

Found = TypeVar("Found")


class Decoded(NamedTuple):
    """A text's words, and whether it came to its end."""

    words: list[str]
    ended: bool


# Texts of each batch of a process: greedy ones, and under "beam/" those of beam search.
Share = dict[str, list[list[Decoded]]]


def share_of(
    policy: Any, split: Any, vocabulary: AnyVocabulary, beam: Mapping[str, Any], *, most: int, size: int, part: int = 0, parts: int = 1
) -> Share:
    """Write a process's share of the texts about a split's items: greedy ones, and those of beam search.

    Args:
        policy: see `seqrl.decoding.sample`.
        split: has `rows(slice)`, which gives what a policy reads of some items.
        vocabulary: what the token ids stand for.
        beam: how beam search goes; empty for none.
        most: only about so many of the first items; 0 for all.
        size: items of a batch.
        part: number of the process.
        parts: of processes.
    """
    batches = batches_of(min(most or len(split), len(split)), size, part, parts)
    ways: dict[str, Callable[..., list[Decoded]]] = {"": greedy_texts}
    ways |= {"beam/": partial(beam_texts, **beam)} if beam else {}
    return {kind: [write(policy, split.rows, [rows], vocabulary) for rows in batches] for kind, write in ways.items()}


def greedy_texts(policy: Any, read: Callable[[slice], Tree], batches: Iterable[slice], vocabulary: AnyVocabulary) -> list[Decoded]:
    """Write the most probable text, token by token, about the items of each batch, of which `read` gives what a policy reads."""
    found: list[Decoded] = []
    for batch in batches:
        rows = sample(policy, context_of(policy, read(batch)), greedy=True)
        lengths = rows.mask.sum(dim=1)
        ended = is_end(rows.action.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1), end_tokens(policy))
        tokens = with_one_end(rows.action, policy, vocabulary.end).tolist()
        found += [
            Decoded(vocabulary.decode(row[:length]), end) for row, length, end in zip(tokens, lengths.tolist(), ended.tolist(), strict=True)
        ]
    return found


def beam_texts(
    policy: Any, read: Callable[[slice], Tree], batches: Iterable[slice], vocabulary: AnyVocabulary, **how: Any
) -> list[Decoded]:
    """Write texts by beam search, as `greedy_texts` does; `how` goes to `seqrl.beam_search.beam_search`."""
    found: list[Decoded] = []
    for batch in batches:
        rows, _ = beam_search(policy, context_of(policy, read(batch)), **how)
        found += [Decoded(vocabulary.decode(row), len(row) < policy.max_tokens) for row in rows]
    return found


def batches_of(count: int, size: int, part: int = 0, parts: int = 1) -> list[slice]:
    """Cut items into batches, and give those of one of several processes: every so manieth, from its own number on.

    Args:
        count: of items.
        size: of a batch; smaller where some process would have nothing to do.
        part: number of the process.
        parts: of processes.
    """
    size = min(size, max(1, -(-count // parts)))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)][part::parts]


def in_order(shares: Sequence[Sequence[Sequence[Found]]]) -> list[Found]:
    """Put what several processes have found in each of their batches back into the order of the items, each once."""
    longest = max(map(len, shares))
    return [found for place in range(longest) for share in shares if place < len(share) for found in share[place]]
