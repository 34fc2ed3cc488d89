"""BLEU, chrF and TER as sacrebleu computes them, and by sacrebleu but for chrF as a reward, which has loops of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.chrf_references import ChrFReferences
from seqrl.metrics.item_texts import PreparedItems, require_some, text_of
from seqrl.metrics.text_scores import PreparedText, References, Sentence, checked_references, checked_sentences

_MOST_WORDS_OF_TER = 500


# The methods of sacrebleu's metrics: `_metric` is the program's own, `_sentence_metric` that of sentences where they differ, and `_text`
# gives the text of a sentence where not every one is taken.


def _scores(self: Any, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Score each text by itself, [N] float64; BLEU with effective order, as sacrebleu advises for sentences."""
    checked_sentences(hypotheses, references)
    metric, text = getattr(self, "_sentence_metric", self._metric), getattr(self, "_text", text_of)
    pairs = zip(hypotheses, references, strict=True)
    return np.array([metric.sentence_score(text(each), list(map(text, texts))).score for each, texts in pairs], np.float64)


def _texts(self: Any, hypotheses: Sequence[Sentence], references: References) -> tuple[list[str], list[list[str | None]]]:
    checked_sentences(hypotheses, references)
    require_some(len(hypotheses))
    text = getattr(self, "_text", text_of)
    # sacrebleu takes the first references of all items, then the second ones; None where an item has fewer
    streams = [[text(texts[k]) if k < len(texts) else None for texts in references] for k in range(max(map(len, references)))]
    return list(map(text, hypotheses)), streams


def _corpus(self: Any, hypotheses: Sequence[Sentence], references: References) -> float:
    """Give sacrebleu's corpus score, from all texts together; hypotheses may have different numbers of references."""
    return float(self._metric.corpus_score(*_texts(self, hypotheses, references)).score)


def _statistics(self: Any, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
    """Give what sacrebleu counts of each text, [N, K]."""
    return np.array(self._metric._extract_corpus_statistics(*_texts(self, hypotheses, references)), np.float64)


def _from_statistics(self: Any, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the corpus scores [B] of sums [B, K]."""
    counts = np.rint(sums).astype(np.int64) if np.array_equal(sums, np.rint(sums)) else sums
    return np.array([self._metric._compute_score_from_stats(list(row)).score for row in counts.tolist()], np.float64)


@dataclass(frozen=True)
class SacreBleu:
    """BLEU as sacrebleu computes it with its default settings, range 0 to 100; for text as it was written, cased and not yet split.

    The words of a captioner have lost case and punctuation, and token ids are no text at all: it scores files, and is neither a
    reward nor a score of captioning's evaluation. Lists of words are refused, unless `tokenize` is "none".

    Args:
        tokenize: sacrebleu's tokeniser, for instance "13a", "char" or "zh", or "none" for text that is split already.
        lowercase: compare without case.

    Raises:
        ValueError: for lists of words, whose case and punctuation nothing brings back; for an item without references, an empty
            reference or lists of different lengths.

    Source: Post 2018 (A call for clarity in reporting BLEU scores).
    """

    tokenize: str = "13a"
    lowercase: bool = False
    bound: ClassVar[float] = 100.0
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "sacreBLEU", {"tok": self.tokenize, "case": "lower" if self.lowercase else "mixed", "n": 4, "smooth": "exponential"}

    score = _scores
    corpus = _corpus
    statistics = _statistics
    from_statistics = _from_statistics

    def _text(self, sentence: Sentence) -> str:
        if not isinstance(sentence, str) and self.tokenize != "none":
            raise ValueError(
                f"sacrebleu scores strings only, as they were written, got the words {list(sentence)[:5]}; give strings, or "
                'SacreBleu(tokenize="none") for words; captioning reports bleu4 and bleu4_smoothed'
            )
        return text_of(sentence)

    def _engine(self, *, effective_order: bool) -> Any:
        from sacrebleu.metrics.bleu import BLEU  # loaded here: it takes longer to import than all other metrics together

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=effective_order)

    @cached_property
    def _metric(self) -> Any:
        return self._engine(effective_order=False)

    @cached_property
    def _sentence_metric(self) -> Any:
        return self._engine(effective_order=True)


@dataclass(frozen=True)
class ChrF:
    """chrF: F-score of the character n-grams shared with the best reference, range 0 to 100; with words, chrF++.

    score = 100 (1 + beta^2) P R / (beta^2 P + R), with P and R the mean precision and recall over the orders of n-grams.

    Args:
        char_order: longest n-gram of characters.
        word_order: longest n-gram of words; 0 for chrF, 2 for chrF++.
        beta: weight of recall against precision.
        lowercase: compare without case.
        whitespace: spaces count as characters.

    Raises:
        ValueError: for an item without references, an empty reference or lists of different lengths.

    Source: Popović 2015 (chrF: character n-gram F-score for automatic MT evaluation); Popović 2017 (chrF++: words helping character
    n-grams); computed by sacrebleu, Post 2018.
    """

    char_order: int = 6
    word_order: int = 0
    beta: int = 2
    lowercase: bool = False
    whitespace: bool = False
    bound: ClassVar[float] = 100.0
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        settings = {"case": "lower" if self.lowercase else "mixed", "nc": self.char_order, "nw": self.word_order, "space": self.whitespace}
        return "chrF" + "+" * self.word_order, {**settings, "beta": self.beta}

    score = _scores
    corpus = _corpus
    statistics = _statistics
    from_statistics = _from_statistics

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedText:
        """Count the n-grams of references once; the result scores batches, by loops of our own where n-grams fit whole numbers."""
        rows = checked_references(references)
        if self.word_order:
            return _prepared(self._metric, rows)
        settings = {"lowercase": self.lowercase, "whitespace": self.whitespace}
        try:
            return ChrFReferences(rows, order=self.char_order, beta=self.beta, **settings)
        except OverflowError:  # hundreds of different characters about one item
            return _prepared(self._metric, rows)

    @cached_property
    def _metric(self) -> Any:
        from sacrebleu.metrics.chrf import CHRF  # loaded here: importing sacrebleu takes longer than the other metrics together

        return CHRF(self.char_order, self.word_order, self.beta, self.lowercase, self.whitespace)


@dataclass(frozen=True)
class Ter:
    """Translation edit rate in percent: edits and moves of phrases to the nearest reference, over the references' mean length; 0 is best.

    TER = 100 (insertions + deletions + exchanges + shifts) / mean words of the references

    Args:
        normalized: separate punctuation from words and read escaped characters first.
        no_punct: leave punctuation out.
        asian_support: split Chinese, Japanese and Korean into characters, with `normalized` or `no_punct`.
        case_sensitive: compare with case.

    Raises:
        ValueError: for an item without references, an empty reference, lists of different lengths or a text of more than 500 words.

    Source: Snover et al. 2006 (A study of translation edit rate with targeted human annotation); computed by sacrebleu, Post 2018.
    """

    normalized: bool = False
    no_punct: bool = False
    asian_support: bool = False
    case_sensitive: bool = False
    bound: ClassVar[float] = math.inf
    higher_is_better: ClassVar[bool] = False
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        tok = f"tercom-{'norm' if self.normalized else 'nonorm'}-{'nopunct' if self.no_punct else 'punct'}"
        case = "mixed" if self.case_sensitive else "lower"
        return "TER", {"tok": f"{tok}-{'asian' if self.asian_support else 'noasian'}", "case": case}

    score = _scores
    corpus = _corpus
    statistics = _statistics
    from_statistics = _from_statistics

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
        """Split references once; the result scores batches."""
        return _prepared(self._metric, checked_references(references))

    @cached_property
    def _metric(self) -> Any:
        from sacrebleu.metrics.ter import TER  # loaded here: importing sacrebleu takes longer than the other metrics together

        class Bounded(TER):
            """The time of the search for moves grows with more than the square of the words."""

            def _preprocess_segment(self, sent: str) -> str:
                text = super()._preprocess_segment(sent)
                if (words := len(text.split())) > _MOST_WORDS_OF_TER:
                    raise ValueError(
                        f"TER looks for moves in texts of at most {_MOST_WORDS_OF_TER} words, got one of {words}, which takes minutes: "
                        "give sentences, or sacrebleu's own command the time that it needs"
                    )
                return text

        return Bounded(self.normalized, self.no_punct, self.asian_support, self.case_sensitive)


def _prepared(metric: Any, references: Sequence[Sequence[Sequence[str]]]) -> PreparedItems:
    # sacrebleu keeps counted references for a whole corpus only, in its order; here an item at a time, in any order
    items = [metric._cache_references([[text_of(words)] for words in sentences])[0] for sentences in references]

    def score_one(words: Sequence[str], item: Any) -> float:
        counts = metric._compute_segment_statistics(metric._preprocess_segment(text_of(words)), item)
        return float(metric._compute_score_from_stats(counts).score)

    return PreparedItems(items, score_one)
