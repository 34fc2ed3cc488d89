"""What functions of one's own are asked about: texts, and what belongs to the items that the texts are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """N texts and, row by row, what is known about their items.

    Attributes:
        texts: words with spaces between.
        references: lists of texts as they were written.
        prompts: texts, where there are any.
        messages: the prompts as lists of messages, `{"role": ..., "content": ...}`, where they are given as such.
        ids: the texts' token ids, an end token included where there is one; None where only the words are known.
        columns: what else the data hold about an item, by name.
    """

    texts: Sequence[str]
    references: Sequence[Sequence[str]]
    prompts: Sequence[str] | None = None
    messages: Sequence[Any] | None = None
    ids: Sequence[Sequence[int]] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def about(cls, split: Any, items: Iterable[int], texts: Sequence[str], ids: Sequence[Sequence[int]] | None = None) -> Asked:
        """Put texts beside what a split holds about their items.

        Args:
            split: has `references`; `prompts`, `messages` and `columns` where it has any.
            items: number of the item that each text is about.
            texts: see the class.
            ids: see the class.
        """
        items = list(items)

        def taken(values: Sequence[Any] | None) -> list[Any] | None:
            return None if values is None else [values[item] for item in items]

        columns = {name: taken(values) or [] for name, values in getattr(split, "columns", {}).items()}
        prompts, messages = taken(getattr(split, "prompts", None)), taken(getattr(split, "messages", None))
        return cls(texts, [list(split.references[item]) for item in items], prompts, messages, ids, columns)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    def part(self, which: slice) -> Asked:
        """Take some rows."""
        rows: Any = {name: None if rows is None else rows[which] for name, rows in vars(self).items() if name != "columns"}
        return Asked(**rows, columns={name: values[which] for name, values in self.columns.items()})
