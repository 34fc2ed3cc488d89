"""Distinct-n and vocabulary: how varied all hypotheses of a corpus are together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seqrl.metrics.item_texts import require_some
from seqrl.metrics.rows import require_list, split_words
from seqrl.metrics.text_scores import References, Sentence, checked_sentences

DIVISORS = ("words", "ngrams")


def _refuse(self: Distinct | VocabularySize, *sentences: Any) -> Any:
    """Refuse, since there is no score for a single sentence."""
    raise ValueError(
        f"{self.name} has one score for all hypotheses together and none for each, so it is no reward and has no scores by sentence; "
        "report it with corpus(), `seqrl score` or the evaluation, and reward another metric"
    )


@dataclass(frozen=True)
class Distinct:
    """Distinct-n: how many different n-grams a corpus has, over its words, range 0 to 1; 0 where it has no words.

    score = different n-grams / words

    Args:
        n: words of an n-gram.
        over: "words" divides by all words, as the paper does; "ngrams" by all n-grams, as much code does, which is the same for n = 1.

    Raises:
        ValueError: for an n below 1 or an unknown divisor; when sentences are to be scored one by one.

    Source: Li et al. 2016 (A diversity-promoting objective function for neural conversation models), distinct-1 and distinct-2.
    """

    n: int = 1
    over: str = "words"
    bound: ClassVar[float] = 1.0
    scores_corpus_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 word, got {self.n}")
        if self.over not in DIVISORS:
            raise ValueError(f"over: expected one of {', '.join(DIVISORS)}, got {self.over!r}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return f"distinct-{self.n}", {"over": self.over}

    @property
    def name(self) -> str:
        """What `seqrl.metrics.by_name` calls it."""
        return f"distinct{self.n}"

    score = _refuse
    prepare_words = _refuse

    def corpus(self, hypotheses: Sequence[Sentence], references: References | None = None) -> float:
        """Count over all hypotheses: tokenised strings or lists of words; references are not read."""
        rows = _rows(hypotheses, references)
        grams = {gram for row in rows for gram in zip(*(row[k:] for k in range(self.n)), strict=False)}
        total = sum(map(len, rows)) if self.over == "words" else sum(max(len(row) - self.n + 1, 0) for row in rows)
        return len(grams) / total if total else 0.0


@dataclass(frozen=True)
class VocabularySize:
    """How many different words all hypotheses have together.

    Raises:
        ValueError: when sentences are to be scored one by one.
    """

    bound: ClassVar[float] = math.inf
    scores_corpus_only: ClassVar[bool] = True
    name: ClassVar[str] = "vocabulary"
    described: ClassVar[tuple[str, dict[str, Any]]] = ("vocabulary", {})

    score = _refuse
    prepare_words = _refuse

    def corpus(self, hypotheses: Sequence[Sentence], references: References | None = None) -> float:
        """Count over all hypotheses: tokenised strings or lists of words; references are not read."""
        return float(len({word for row in _rows(hypotheses, references) for word in row}))


def _rows(hypotheses: Sequence[Sentence], references: References | None) -> list[list[str]]:
    if references is not None:
        rows, _ = checked_sentences(hypotheses, references)
    else:
        require_list(hypotheses, "the hypotheses")
        rows = [split_words(sentence) for sentence in hypotheses]
    require_some(len(rows))
    return rows
