"""Pairs of texts: what is read, and what may be written about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Pairs:
    """Prompts with their references.

    Attributes:
        prompts: [N] texts.
        references: [N] lists of texts, at least one each.
        places: [N] where each stands, for messages; numbers of the items when empty.
        messages: [N] the prompts as lists of messages, where they were given as such; else empty. For rewards in TRL's form.
        columns: [N] each, what else the data hold, by name. For rewards in TRL's form.

    Raises:
        ValueError: when their numbers differ, or an item has no reference, or an empty one.
    """

    prompts: Sequence[str]
    references: Sequence[Sequence[str]]
    places: Sequence[str] = field(default=())
    messages: Sequence[Messages] = field(default=())
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be scored."""
        if len(self.prompts) != len(self.references):
            raise ValueError(
                f"expected references for every prompt, got {len(self.prompts)} prompts and {len(self.references)} lists of references"
            )
        for name, values in self.columns.items():
            if len(values) != len(self.prompts):
                raise ValueError(f"column {name!r}: expected a value for each of {len(self.prompts)} prompts, got {len(values)}")
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
        columns = {name: values[which] for name, values in self.columns.items()}
        return Pairs(self.prompts[which], self.references[which], self.places[which], self.messages[which], columns)


def merged(pairs: Sequence[tuple[str, str]]) -> Pairs:
    """Put the references of equal prompts together, in the order in which the prompts first come."""
    found: dict[str, list[str]] = {}
    for prompt, reference in pairs:
        found.setdefault(prompt, []).append(reference)
    return Pairs(list(found), list(found.values()))


def are_messages(prompt: Any) -> TypeGuard[Messages]:
    """Tell whether a prompt is a list of messages, `{"role": ..., "content": a text}`."""
    return (
        isinstance(prompt, list | tuple)
        and bool(prompt)
        and all(isinstance(turn, Mapping) and "role" in turn and isinstance(turn.get("content"), str) for turn in prompt)
    )


def joined_turns(turns: Sequence[str]) -> str:
    """Put the turns of a dialog together, each on its own side of a bar."""
    return " | ".join(turns)


def as_prompts(prompts: Sequence[str] | Sequence[Messages]) -> tuple[list[str], Sequence[Messages]]:
    """Give prompts as texts, and as lists of messages where they are such.

    Raises:
        ValueError: for a single text, for what is none, or for texts among lists of messages.
    """
    if isinstance(prompts, str):
        raise ValueError(f"prompts: expected a list of texts, got the text {prompts[:40]!r}; put it in a list")
    found: list[Any] = list(prompts)
    messages = [prompt for prompt in found if are_messages(prompt)]
    texts = [joined_turns([turn["content"] for turn in prompt]) if are_messages(prompt) else prompt for prompt in found]
    for index, prompt in enumerate(texts):
        if not isinstance(prompt, str):
            raise ValueError(
                f"prompt {index}: expected a text, got a {type(prompt).__name__}; join the turns of a dialog to one text, or give "
                'messages, [{"role": "user", "content": "hello"}]'
            )
    if messages and len(messages) != len(found):
        raise ValueError(f"prompts: expected texts or lists of messages, got {len(messages)} lists of messages among {len(found)} prompts")
    return texts, messages or ()


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
