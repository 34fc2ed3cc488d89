"""Pairs of texts: what is read, and what may be written about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pairs:
    """Prompts with their references.

    Attributes:
        prompts: [N] texts.
        references: [N] lists of texts, at least one each.
        places: [N] where each stands, for messages; numbers of the items when empty.

    Raises:
        ValueError: when their numbers differ, or an item has no reference, or an empty one.
    """

    prompts: Sequence[str]
    references: Sequence[Sequence[str]]
    places: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        """Refuse what cannot be scored."""
        if len(self.prompts) != len(self.references):
            raise ValueError(
                f"expected references for every prompt, got {len(self.prompts)} prompts and {len(self.references)} lists of references"
            )
        for index, references in enumerate(self.references):
            if isinstance(references, str):
                raise ValueError(f"{self.place(index)}: expected a list of references, got the text {references[:40]!r}; put it in a list")
            if not references:
                raise ValueError(f"{self.place(index)}: expected at least one reference, got none")
            for text in references:
                if not text.strip():
                    raise ValueError(f"{self.place(index)}: an empty reference cannot be scored; write one or leave the pair out")

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.prompts)

    def place(self, index: int) -> str:
        """Say where an item stands."""
        return self.places[index] if self.places else f"pair {index}"

    def part(self, which: slice) -> Pairs:
        """Take some of the pairs."""
        return Pairs(self.prompts[which], self.references[which], self.places[which])


def merged(pairs: Sequence[tuple[str, str]]) -> Pairs:
    """Put the references of equal prompts together, in the order in which the prompts first come."""
    found: dict[str, list[str]] = {}
    for prompt, reference in pairs:
        found.setdefault(prompt, []).append(reference)
    return Pairs(list(found), list(found.values()))


def as_prompts(prompts: Sequence[str]) -> list[str]:
    """Give prompts as a list.

    Raises:
        ValueError: for a single text, or what is none.
    """
    if isinstance(prompts, str):
        raise ValueError(f"prompts: expected a list of texts, got the text {prompts[:40]!r}; put it in a list")
    found = list(prompts)
    for index, prompt in enumerate(found):
        if not isinstance(prompt, str):
            raise ValueError(f"prompt {index}: expected a text, got a {type(prompt).__name__}; join the turns of a dialog to one text")
    return found


def as_lists(references: Sequence[str] | Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Give lists of references where each prompt has one text."""
    if isinstance(references, str):
        raise ValueError(
            f"references: expected a list with one text, or a list of texts, for each prompt, got the text {references[:40]!r}"
        )
    return [[each] if isinstance(each, str) else each for each in references]


def held_out(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Hold the last tenth of pairs out; where there are fewer than ten, they are learned from and chosen by."""
    count = len(pairs) // 10
    return (pairs.part(slice(0, -count)), pairs.part(slice(-count, None))) if count else (pairs, pairs)
