"""Metrics of words that are not made of n-grams of ids: the protocol, the checks they share, and references prepared for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.rows import require_list, require_pairs, split_words

Sentence = str | Sequence[str]
References = Sequence[Sequence[Sentence]]  # for each hypothesis or item its references


class PreparedText(Protocol):
    """References that were parsed or counted once: call `score` on every batch."""

    def score(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> NDArray[np.float64]:
        """Score hypotheses [N], lists of words, each against the references of its item [N]; gives [N]."""


@runtime_checkable
class TextMetric(Protocol):
    """A metric of words.

    Beside these methods it may say `higher_is_better` (True where it does not) and `bound`, its largest value (infinite where it does
    not).
    """

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""

    def score(self, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N]."""

    def corpus(self, hypotheses: Sequence[Sentence], references: References) -> float:
        """Give the published score of a corpus."""

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedText:
        """Prepare the references of all items once: for each item a list of lists of words."""


@dataclass(frozen=True)
class KeptReferences:
    """References of words, for a metric that has nothing to prepare; give it what `checked_references` gives."""

    metric: Any
    references: Sequence[Sequence[Sequence[str]]]

    def score(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> NDArray[np.float64]:
        """Score each hypothesis against the references of its item with the metric's own `score`."""
        check_items(hypotheses, items, len(self.references))
        return np.asarray(self.metric.score(hypotheses, [self.references[item] for item in items]), np.float64)


def checked_sentences(hypotheses: Sequence[Sentence], references: References) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Split hypotheses and references into words, and refuse what no score is defined for.

    Args:
        hypotheses: tokenised strings, split at white space, or lists of words; an empty one is fine.
        references: for each hypothesis its references, the same.

    Raises:
        ValueError: for lists of different lengths, what is no list of sentences (`seqrl.metrics.rows.require_list`), an item without
            references, or an empty reference.
    """
    require_pairs(hypotheses, references)
    return [split_words(sentence) for sentence in hypotheses], checked_references(references)


def checked_references(references: References, *, num_images: int | None = None) -> list[list[list[str]]]:
    """Split references into words.

    Raises:
        ValueError: for what is no list of lists of sentences, another number of them than images, an item without references, or an empty
            reference.
    """
    require_list(references, "the references", "lists of sentences")
    if num_images is not None and len(references) != num_images:
        raise ValueError(f"expected one list of references an image; got {num_images} images and {len(references)} lists")
    checked = []
    for item, sentences in enumerate(references):
        require_list(sentences, f"the references of item {item}")
        if not len(sentences):
            raise ValueError(f"item {item} has no references: give it at least one, or leave the item out")
        words = [split_words(sentence) for sentence in sentences]
        if not all(words):
            empty = words.index([])
            raise ValueError(f"reference {empty} of item {item} is empty: no score is defined against it, so remove the reference")
        checked.append(words)
    return checked


def check_items(hypotheses: Sequence[Any], items: Sequence[int], num_items: int) -> None:
    """Refuse hypotheses that are no list, and items that prepared references do not have.

    Raises:
        ValueError: for what is no list, another number of items than hypotheses, or an item out of range.
    """
    require_list(hypotheses, "the hypotheses")
    if len(hypotheses) != len(items):
        raise ValueError(f"expected one item a hypothesis; got {len(hypotheses)} hypotheses and {len(items)} items")
    if len(items) and not (min(items) >= 0 and max(items) < num_items):
        raise ValueError(f"items must lie in 0..{num_items - 1}; got {min(items)}..{max(items)}")
