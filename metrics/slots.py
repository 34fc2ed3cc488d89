"""Slot error rate: which slots of a dialogue act a response leaves out, and which it adds or repeats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import corpus_score_of_statistics, prepare_items, score_items
from seqrl.metrics.rows import split_words
from seqrl.metrics.text_scores import References, Sentence, checked_sentences

# How delexicalised data marks them, RNNLG's for instance.
_SLOT = "SLOT_"


class SlotErrors(NamedTuple):
    """Slots that a response leaves out, slots that it has too many, and slots that it should have."""

    missing: int
    redundant: int
    required: int

    @property
    def rate(self) -> float:
        """Errors over required slots; over 1 where none is required."""
        return (self.missing + self.redundant) / max(self.required, 1)


def slot_errors(mentioned: Iterable[str], required: Iterable[str]) -> SlotErrors:
    """Compare the slots of a response with those of its dialogue act; each counts as often as it stands, the order does not.

    Args:
        mentioned: the slots that the response realises.
        required: the slots that the act asks for.
    """
    has, needs = Counter(mentioned), Counter(required)
    return SlotErrors((needs - has).total(), (has - needs).total(), needs.total())


def slot_error_rate(errors: Iterable[SlotErrors]) -> float:
    """Give the published score of a corpus: (missing + redundant) / required, each summed over all responses.

    Raises:
        ValueError: where no slot is required at all.

    Source: Wen et al. 2015 (Semantically conditioned LSTM-based natural language generation), ERR = (p + q) / N.
    """
    missing, redundant, required = map(sum, zip(*errors, strict=True)) if (errors := list(errors)) else (0, 0, 0)
    if not required:
        raise ValueError(
            "slot error rate: expected responses to acts with slots, got none that requires any; which words are slots says "
            "the prefix, such as slot_error.prefix=SLOT_ for delexicalised text"
        )
    return (missing + redundant) / required


def prefix_of_slots(references: Iterable[Iterable[Sequence[str]]]) -> str | None:
    """Find what slots begin with in delexicalised text, SLOT_ in capitals or not; None where no word of the references is one."""
    words = (word for sentences in references for words in sentences for word in words)
    return next((word[: len(_SLOT)] for word in words if word[: len(_SLOT)].upper() == _SLOT), None)


def _slot_of_keyword(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split():
        slot, equals, words = part.partition("=")
        given = words.split(",")
        twice = [word for word in given if word in found]
        if not (slot and equals and all(given)) or twice:
            raise ValueError(f"keywords: expected slot=word,word with spaces between slots and each word once, got {part[:60]!r}")
        found |= dict.fromkeys(given, slot)
    return found


@dataclass(frozen=True)
class SlotErrorRate:
    """Slot error rate of lists of slots, or of delexicalised text; 0 is best, and many redundant slots are above 1.

    ERR = (missing + redundant) / required, the least over the references.

    Args:
        prefix: only words that begin with it are slots, for instance "SLOT_" in delexicalised text; by default every word is one.
        keywords: words that realise slots without a value, "kidsallowed=child,kid hasinternet=wifi": each counts as its slot. They say
            nothing of yes or no.

    Raises:
        ValueError: for keywords of another form, an item without references, an empty reference or lists of different lengths.

    Source: Wen et al. 2015 (Semantically conditioned LSTM-based natural language generation), ERR = (p + q) / N; keywords: RNNLG's toolkit.
    """

    prefix: str = ""
    keywords: str = ""
    bound: ClassVar[float] = math.inf
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.keywords and not self.prefix:
            raise ValueError("keywords: expected a prefix beside them, since without one every word is a slot; set prefix, such as SLOT_")
        _ = self._slot_of  # refuses keywords of another form

    @cached_property
    def _slot_of(self) -> dict[str, str]:
        return _slot_of_keyword(self.keywords)

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "slot-error-rate", {"slots": " ".join([f"{self.prefix}*", *self.keywords.split()])} if self.prefix else {}

    score = score_items
    corpus = corpus_score_of_statistics
    prepare_words = prepare_items

    def statistics(self, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
        """Count errors and required slots, [N, 2]; the corpus score is made of their sums."""
        checked_sentences(hypotheses, references)
        found = [self._least(text, self.read_item(rows)) for text, rows in zip(hypotheses, references, strict=True)]
        slot_error_rate(found)  # refuses what has no score
        return np.array([(each.missing + each.redundant, each.required) for each in found], np.float64)

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums [B, 2]; 0 where no slot is required."""
        return sums[:, 0] / np.maximum(sums[:, 1], 1.0)

    def _slots(self, sentence: Sentence) -> list[str]:
        slot_of, words = self._slot_of, split_words(sentence)
        return [slot_of.get(word, word) for word in words if word in slot_of or word.startswith(self.prefix)]

    def read_item(self, sentences: Sequence[Sentence]) -> list[list[str]]:
        """Find the required slots of each reference."""
        return list(map(self._slots, sentences))

    def score_one(self, sentence: Sentence, item: list[list[str]]) -> float:
        """Rate a response: its slots as a list, or separated by spaces."""
        return self._least(sentence, item).rate

    def _least(self, sentence: Sentence, item: list[list[str]]) -> SlotErrors:
        mentioned = self._slots(sentence)
        return min((slot_errors(mentioned, required) for required in item), key=lambda errors: (errors.rate, errors.required))
