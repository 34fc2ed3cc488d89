"""ROUGE-L, the longest common subsequence of a sentence and its references, and ROUGE-1, 2 and Lsum of the package rouge-score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import kernels, sequence_kernels
from seqrl.metrics.item_texts import mean_of_scores, prepare_items, score_items, text_of
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows, WordNumbers
from seqrl.metrics.text_scores import Sentence
from seqrl.metrics.token_scores import prepare_rows, score_sentences

_WORD = re.compile("[a-z0-9]+")
_LONGEST_UNSTEMMED = 3


@dataclass(frozen=True)
class RougeL:
    """ROUGE-L as coco-caption computes it, range 0 to 1.

    score = (1 + beta^2) P R / (R + beta^2 P), with P and R the greatest over the references of LCS / length of the
    hypothesis and LCS / length of the reference; the two may come from different references.

    Args:
        beta: weight of recall against precision.
        score_end: the end of the sentence counts as a word.

    Raises:
        ValueError: for an item without references or an empty reference.

    Source: Lin 2004 (ROUGE), sentence-level ROUGE-L.
    Differs from: the paper, as coco-caption does, in beta = 1.2 and in taking P and R from different references.
    """

    beta: float = 1.2
    score_end: bool = False
    bound: ClassVar[float] = 1.0
    max_n: ClassVar[int] = 1

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "ROUGE-L", {"beta": self.beta}

    score = score_sentences
    corpus = mean_of_scores
    prepare = prepare_rows

    def score_rows(self, index: ReferenceIndex, rows: HypothesisRows) -> NDArray[np.float64]:
        """Score rows of token ids against prepared references, [N] float64."""
        scores = np.empty(len(rows.items), np.float64)
        lengths = np.empty(len(rows.items), np.int64)
        kernels.scored_lengths(rows.tokens, rows.lengths, index.end_id, index.score_end, lengths)
        longest = int(np.diff(index.rows.row_starts).max(initial=0))
        sequence_kernels.rouge_scores(rows.tokens, lengths, rows.items, self.beta, *index.rows, longest, scores)
        return scores


@dataclass(frozen=True)
class RougeN:
    """ROUGE-N: how many n-grams a text shares with the reference that it agrees with best, range 0 to 1.

    score = max_j 2 P R / (P + R), with P and R the shared n-grams over those of the text and of reference j.

    Text is split as the original program does it: lower case, and all but a to z and 0 to 9 stands between words. So text as it was
    written gives the package's scores, and a script other than Latin has no words at all.

    Args:
        n: words of an n-gram.
        stem: compare the stems of words of more than three letters (Porter's, as NLTK has it, which has to be installed).

    Raises:
        ValueError: for an n below 1, an item without references, an empty reference or lists of different lengths.
        ModuleNotFoundError: when stems are asked for without NLTK.

    Source: Lin 2004 (ROUGE: a package for automatic evaluation of summaries), ROUGE-N.
    Differs from: the paper, as the package does, in the F-measure and in the best reference instead of all of them.
    """

    n: int = 1
    stem: bool = False
    bound: ClassVar[float] = 1.0
    reads_raw_text: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse n-grams of no words."""
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 word, got {self.n}")

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return f"ROUGE-{self.n}", {"tok": "rouge", "stem": self.stem}

    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items

    def read_item(self, sentences: Sequence[Sentence]) -> list[tuple[Counter[Any], int]]:
        """Count the n-grams of references."""
        return [self._count(sentence) for sentence in sentences]

    def _count(self, sentence: Sentence) -> tuple[Counter[Any], int]:
        words = rouge_words(text_of(sentence), stem=self.stem)
        grams = Counter(words if self.n == 1 else zip(*(words[k:] for k in range(self.n)), strict=False))
        return grams, max(len(words) - self.n + 1, 0)

    def score_one(self, sentence: Sentence, item: list[tuple[Counter[Any], int]]) -> float:
        """Compare a text with the reference that it agrees with best; lists of words are put together with spaces."""
        counts, total = self._count(sentence)
        grams, best = counts.items(), 0.0
        for other, other_total in item:
            shared = sum(min(count, other[gram]) for gram, count in grams if gram in other)
            best = max(best, f_measure(shared, total, other_total))
        return best


@dataclass(frozen=True)
class RougeLsum:
    """ROUGE-Lsum: the union of longest common subsequences of a summary's lines with each line of a reference, range 0 to 1.

    score = max_j 2 P R / (P + R), with P and R the words of reference j in that union (each at most as often as the summary has it),
    over the words of the summary and of the reference.

    Lines are what newlines separate; a text without any is one line. For words and stems see `RougeN`.

    Args:
        stem: as in `RougeN`.

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.
        ModuleNotFoundError: when stems are asked for without NLTK.

    Source: Lin 2004 (ROUGE: a package for automatic evaluation of summaries), summary-level ROUGE-L.
    Differs from: the paper, as the package does, in counting no word of the summary twice, and in the best reference.
    """

    stem: bool = False
    bound: ClassVar[float] = 1.0
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "ROUGE-Lsum", {"tok": "rouge", "stem": self.stem}

    score = score_items
    corpus = mean_of_scores
    prepare_words = prepare_items

    def read_item(self, sentences: Sequence[Sentence]) -> _NumberedLines:
        """Number the words of references."""
        numbers = WordNumbers()
        lines = [self._lines(sentence, numbers.__getitem__) for sentence in sentences]
        return _NumberedLines(numbers, lines)

    def _lines(self, sentence: Sentence, number: Callable[[str], int]) -> list[NDArray[np.int64]]:
        lines = [rouge_words(line, stem=self.stem) for line in text_of(sentence).split("\n")]
        return [np.array([number(word) for word in words], np.int64) for words in lines if words]

    def score_one(self, sentence: Sentence, item: _NumberedLines) -> float:
        """Compare a text with the reference that it agrees with best; lists of words are put together with spaces."""
        unknown = len(item.numbers)  # no reference has it, so words that are foreign to them may share it
        lines = self._lines(sentence, lambda word: item.numbers.get(word, unknown))
        return max(_union_score(lines, reference) for reference in item.references)


class _NumberedLines(NamedTuple):
    numbers: dict[str, int]
    references: list[list[NDArray[np.int64]]]


def rouge_words(text: str, *, stem: bool = False) -> list[str]:
    """Split text into the words that ROUGE compares: runs of a to z and 0 to 9 in lower case, stemmed or not."""
    words = _WORD.findall(text.lower())
    return [_stemmer()(word) if len(word) > _LONGEST_UNSTEMMED else word for word in words] if stem else words


def f_measure(shared: int, total: int, other_total: int) -> float:
    """Give 2 P R / (P + R) for P = shared / total and R = shared / other_total; 0 where nothing is shared."""
    if not shared:
        return 0.0
    precision, recall = shared / total, shared / other_total
    return 2 * precision * recall / (precision + recall)


def _union_score(lines: list[NDArray[np.int64]], reference: list[NDArray[np.int64]]) -> float:
    total, other_total = sum(map(len, lines)), sum(map(len, reference))
    if not total or not other_total:
        return 0.0
    kept: Counter[int] = Counter()
    for words in reference:
        marked = np.zeros(len(words), np.bool_)
        for line in lines:
            sequence_kernels.mark_common(words, line, marked)
        kept.update(words[marked].tolist())
    shared = (kept & Counter(word for line in lines for word in line.tolist())).total()
    return f_measure(shared, total, other_total)


@lru_cache(maxsize=1)
def _stemmer() -> Callable[[str], str]:
    try:
        from nltk.stem.porter import PorterStemmer  # loaded here: only stems need it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("stem=True: NLTK has the stemmer, and it is not installed; `pip install nltk`, or stem=False") from error
    return lru_cache(maxsize=100_000)(PorterStemmer().stem)
