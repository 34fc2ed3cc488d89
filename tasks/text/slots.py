"""Slots in texts without values: which words are some, which of them are wrong, and how people see them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from seqrl.run.registry import nearest
from seqrl.tasks.text.pairs import Pairs

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slots:
    """The slots of a data set.

    Attributes:
        prefix: what they begin with.
        known: all that there are; none where the texts have their values.
    """

    prefix: str
    known: frozenset[str]

    @classmethod
    def of(cls, prefix: str, pairs: Pairs) -> Slots:
        """Collect the slots of prompts and references."""
        texts = (text for texts in (pairs.prompts, *pairs.references) for text in texts)
        return cls(prefix, frozenset(word for text in texts for word in text.split() if word.startswith(prefix)))

    def strange(self, text: str) -> list[str]:
        """Give the words with the prefix that are no slot of the training side."""
        return [word for word in text.split() if self.known and word.startswith(self.prefix) and word not in self.known]

    def require_known(self, prompts: Sequence[str]) -> None:
        """Refuse prompts with a slot that nobody has learned to say.

        Raises:
            ValueError: naming prompt, slot and the one that may be meant.
        """
        for number, prompt in enumerate(prompts):
            for word in self.strange(prompt):
                raise ValueError(f"prompt {number}: no training pair has the slot {word}; {nearest(word, self.known)}")

    def warn_of_strange(self, name: str, pairs: Pairs) -> None:
        """Say which slots of a split no policy can have learned.

        Args:
            name: of the split.
            pairs: of it.
        """
        found = {word: pairs.place(index) for index, prompt in enumerate(pairs.prompts) for word in reversed(self.strange(prompt))}
        if found:
            shown = ", ".join(f"{word} ({place})" for word, place in sorted(found.items())[:5])
            _LOG.warning("%s: no training pair has these slots, so that no reply can say them: %s", name, shown)

    def wanted(self, prompt: str, references: Sequence[str]) -> set[str]:
        """Give the slots that a prompt asks for; those of its references where it names none, as a question in plain words does."""
        asked = {word for word in prompt.split() if word in self.known}
        return asked or {word for text in references for word in text.split() if word in self.known}

    def kind(self, word: str, wanted: set[str] | None = None) -> str:
        """Say what a word is: "slot"; "unknown", a slot that is none of those `wanted`; "broken", a word that has the prefix in it
        and is no slot, as pieces of words may write; "" for any other word.
        """
        if word in self.known:
            return "slot" if wanted is None or word in wanted else "unknown"
        return "broken" if self.known and self.prefix in word else ""

    def metrics(self, replies: Sequence[Sequence[str]], pairs: Pairs) -> dict[str, float]:
        """Give the shares of the replies with a slot that nobody asked for, and with a broken one; nothing where there are no slots.

        Args:
            replies: words of the replies to the first prompts.
            pairs: prompts and references.
        """
        if not self.known:
            return {}
        found = {"unknown": 0, "broken": 0}
        for words, prompt, references in zip(replies, pairs.prompts, pairs.references, strict=False):
            wanted = self.wanted(prompt, references)
            kinds = {self.kind(word, wanted) for word in words}
            for kind in found:
                found[kind] += kind in kinds
        return {f"{kind}_slots": count / len(replies) for kind, count in found.items()}

    def marked(self, text: str, wanted: set[str] | None = None) -> str:
        """Put slots in square brackets: [SLOT_NAME], [SLOT_FOOD?] where nobody asked for it, [SLOT_FO!] where it is broken."""
        ends = {"slot": "", "unknown": "?", "broken": "!"}
        kinds = [(word, self.kind(word, wanted)) for word in text.split(" ")]
        return " ".join(f"[{word}{ends[kind]}]" if kind else word for word, kind in kinds)
