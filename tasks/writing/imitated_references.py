"""The references that a policy imitates, as rows of ids that it can write to the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqrl.tasks.writing.reward import References
from seqrl.tasks.writing.vocabulary import AnyVocabulary
from seqrl.trajectory import Trajectory, Tree


class ImitatedReferences:
    """Token ids of each item's references, each to its end.

    To imitate texts that were cut would teach the policy to break off: an item's references that are too long are left out, and cut
    short only where all of them are.

    Args:
        split: the items' references, as words and as they were written.
        vocabulary: gives their ids, of texts where it has rules of its own for what is written (`encode_reference`), else of words.
        max_tokens: longest row that the policy writes, end token included.
        ends: tokens that end a row of the policy, of which some may be words.
        encode: gives the ids of words in the place of the vocabulary.
    """

    def __init__(
        self,
        split: References,
        vocabulary: AnyVocabulary,
        max_tokens: int,
        ends: Sequence[int],
        *,
        encode: Callable[[Sequence[str]], list[int]] | None = None,
    ) -> None:
        self._vocabulary, self._max_tokens, self.ends = vocabulary, max_tokens, tuple(ends)
        own_rules = getattr(vocabulary, "encode_reference", None)
        given, items = (encode or vocabulary.encode, split.words) if own_rules is None else (own_rules, split.references)
        self.rows = [self._complete([given(reference) for reference in references]) for references in items]

    def chosen(self, items: Tensor, count: int, generator: torch.Generator) -> tuple[list[list[int]], Tensor]:
        """Draw `count` references of each item [N], 0 for all; give B of them, and for each the place of its item among the items, [B]."""
        rows, place = list[list[int]](), list[int]()
        for number, item in enumerate(items.tolist()):
            references = self.rows[item]
            if 0 < count < len(references):
                references = [references[index] for index in torch.randperm(len(references), generator=generator)[:count].tolist()]
            rows += references
            place += [number] * len(references)
        return rows, torch.tensor(place)

    def beginnings(self, items: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        """Give the first tokens of a reference of each item [N], drawn at random, [N, S] with S <= num_steps.

        The rows of an item share it: where it ends early, none of them has a choice left, and no group keeps a single row.
        """
        rows = []
        for item in items.tolist():
            references = self.rows[item]
            rows.append(references[int(torch.randint(len(references), (), generator=generator))][:num_steps])
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [self._vocabulary.pad] * (longest - len(row)) for row in rows])

    def _complete(self, references: Sequence[list[int]]) -> list[list[int]]:
        rows = [self._ended(tokens) for tokens in references]
        return [row for row in rows if len(row) <= self._max_tokens] or [row[: self._max_tokens] for row in rows]

    def _ended(self, tokens: list[int]) -> list[int]:
        """Give tokens up to the first one that ends a row of the policy; else with an end."""
        length = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        return [*tokens, self._vocabulary.end] if length is None else tokens[: length + 1]


def imitated_rows(tokens: Sequence[Sequence[int]], context: Tree, group: Tensor, *, begin: int, pad: int) -> Trajectory:
    """Lay captions out as rows to imitate.

    Args:
        tokens: B captions, each to its end.
        context: leaves [B, ...].
        group: [B] numbers of the images.
        begin: token before the first one.
        pad: token after the last one.
    """
    B, T = len(tokens), max(len(row) for row in tokens)
    lengths = torch.tensor([len(row) for row in tokens])
    imitate = torch.arange(T) < lengths.unsqueeze(1)
    action = torch.full((B, T), pad)
    action[imitate] = torch.tensor([token for row in tokens for token in row])
    nothing = torch.zeros(B, T, dtype=torch.bool)
    return Trajectory(
        action=action,
        logp=torch.zeros(B, T),
        value=torch.zeros(B, T + 1),
        reward=torch.zeros(B, T),
        terminated=torch.arange(T) == lengths.unsqueeze(1) - 1,
        truncated=nothing,
        mask=nothing,
        obs=torch.cat([torch.full((B, 1), begin), action], dim=1),
        context=context,
        group=group,
        imitate=imitate,
    )
