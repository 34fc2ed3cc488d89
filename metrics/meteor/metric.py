"""METEOR 1.5 as coco-caption calls it, without Java: words match by form, stem, synonym and paraphrase; scattered ones cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import require_some
from seqrl.metrics.meteor import kernels
from seqrl.metrics.meteor.normalise import normalise
from seqrl.metrics.meteor.paraphrases import Paraphrases, english_paraphrases
from seqrl.metrics.meteor.words import WordTable
from seqrl.metrics.rows import end_to_end, starts_of
from seqrl.metrics.text_scores import References, Sentence, check_items, checked_references, checked_sentences

_MOST_WORDS = 2000
_MOST_NEW_WORDS = 500_000


@dataclass(frozen=True)
class Meteor:
    """METEOR 1.5, English, the best score over the references, range 0 to 1.

    P = sum_m w_m (delta c_m + (1 - delta) f_m) / (delta c + (1 - delta) f) over the modules m (exact, stem, synonym, paraphrase), with c
    content and f function words of the hypothesis and c_m, f_m those matched; R alike for the reference;
    score = P R / (alpha P + (1 - alpha) R) (1 - gamma (chunks / matched words)^beta).

    The corpus score is the score of the statistics of all sentences together, each against its best reference.

    Args:
        alpha, beta, gamma, delta: the published parameters for English.
        weights: of the four modules.

    Raises:
        ValueError: for an item without references, an empty reference, or a sentence of more than 2,000 words.

    Source: Denkowski & Lavie 2014, Meteor universal: language specific translation evaluation for any target language; Denkowski & Lavie
    2011, Meteor 1.3, the criteria of the alignment.
    Differs from: the papers, as the Java program does, in what the alignment maximises: words that count, then few chunks; see
    `seqrl.metrics.meteor.alignment`.
    """

    bound: ClassVar[float] = 1.0

    alpha: float = 0.85
    beta: float = 0.2
    gamma: float = 0.6
    delta: float = 0.75
    weights: tuple[float, float, float, float] = (1.0, 0.6, 0.8, 0.6)

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        parameters = (self.alpha, self.beta, self.gamma, self.delta)
        return "METEOR-1.5", {"parameters": ",".join(map(str, parameters)), "weights": ",".join(map(str, self.weights))}

    def score(self, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        return self.statistics(hypotheses, references)[0]

    def corpus(self, hypotheses: Sequence[Sentence], references: References) -> float:
        """Give the published score, from the statistics of all sentences together."""
        statistics = self.statistics(hypotheses, references)[1]
        require_some(len(statistics))
        return float(kernels.score_statistics(statistics.sum(axis=0), self.settings))

    def statistics(self, hypotheses: Sequence[Sentence], references: References) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the scores [N] and the counts that they come from [N, 23], in the order in which METEOR 1.5 prints them, see `summable`."""
        words, rows = checked_sentences(hypotheses, references)
        prepared = PreparedMeteor(self, rows, english_paraphrases())
        scores, statistics = prepared.statistics(words, range(len(words)))
        return scores, summable(statistics)

    def from_statistics(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the corpus scores [B] of sums of statistics [B, 23]."""
        return np.array([kernels.score_statistics(row, self.settings) for row in sums], np.float64)

    @property
    def settings(self) -> NDArray[np.float64]:
        """The parameters as the compiled loops read them."""
        return np.array([self.alpha, self.beta, self.gamma, self.delta, *self.weights], np.float64)

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedMeteor:
        """Look up the words and phrases of references once; the result scores batches of hypotheses."""
        return PreparedMeteor(self, checked_references(references), english_paraphrases())


def summable(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the chunk from statistics [N, 23] of sentences that match their reference whole, in one chunk: Java adds none for them."""
    whole = (statistics[:, 21] == statistics[:, 0]) & (statistics[:, 22] == statistics[:, 1]) & (statistics[:, 20] == 1)
    kept = statistics.copy()
    kept[whole, 20] = 0.0
    return kept


class PreparedMeteor:
    """References whose words, stems, synonyms and phrases are known; scores hypotheses of words against them.

    Args:
        metric: whose settings count.
        references: for each item its references, each a list of words, as `checked_references` gives them.
        paraphrases: the table.

    Raises:
        ValueError: as `Meteor` does.
    """

    def __init__(self, metric: Meteor, references: Sequence[Sequence[Sequence[str]]], paraphrases: Paraphrases) -> None:
        self._settings = metric.settings
        self._paraphrases = paraphrases
        self._table = WordTable(paraphrases.numbers)
        self._tokens: dict[str, list[int]] = {}
        rows: list[list[int]] = []
        for item, sentences in enumerate(references):
            for place, sentence in enumerate(sentences):
                if not any(word.strip() for word in sentence):
                    raise ValueError(f"reference {place} of item {item} is empty: no score is defined against it, so remove the reference")
                rows.append(self._number(sentence))
        self._references = self._prepared(rows, starts_of([len(sentences) for sentences in references]))
        self._known = len(self._table.numbers)

    def _number(self, words: Sequence[str]) -> list[int]:
        tokens = self._tokens
        numbers: list[int] = []
        for word in words:
            known = tokens.get(word)
            if known is None:
                if "." in word:
                    return self._checked(self._table.number(normalise(" ".join(words))))
                known = self._table.number(normalise(word))
                tokens[word] = known
            numbers += known
        return self._checked(numbers)

    def _checked(self, numbers: list[int]) -> list[int]:
        if len(numbers) > _MOST_WORDS:
            raise ValueError(f"METEOR aligns sentences of at most {_MOST_WORDS} words, got one of {len(numbers)}: split it, or shorten it")
        return numbers

    def _prepared(self, rows: list[list[int]], item_rows: NDArray[np.int64]) -> kernels.References:
        words, row_starts = end_to_end(rows)
        phrase_words, table = self._table.arrays().phrase_words, self._paraphrases.arrays
        found, found_starts, digests = kernels.find_all_phrases(words, row_starts, item_rows, phrase_words, table)
        of_items = np.repeat(np.arange(len(item_rows) - 1), np.diff(found_starts[item_rows]))
        keys = np.unique(of_items * 2**32 + found[:, 2])
        numbers, starts = (keys % 2**32).astype(np.int32), np.searchsorted(keys, np.arange(len(item_rows)) * 2**32)
        return kernels.References(words, row_starts, item_rows, found, found_starts, digests, numbers, starts)

    def score(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> NDArray[np.float64]:
        """Score hypotheses of words, each against the references of its item, [N] float64."""
        return self.statistics(hypotheses, items)[0]

    def statistics(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the scores [N] and their counts [N, 23], each as METEOR 1.5 prints them."""
        check_items(hypotheses, items, len(self._references.item_rows) - 1)
        wanted = np.fromiter(items, np.int64, len(items))
        if len(self._table.numbers) > self._known + _MOST_NEW_WORDS:
            self._forget()
        rows = end_to_end([self._number(words) for words in hypotheses])
        tables = (self._table.arrays(), self._paraphrases.arrays)
        scores, statistics = np.zeros(len(wanted)), np.zeros((len(wanted), kernels.NUM_STATISTICS))
        kernels.score_rows(rows, wanted, self._references, *tables, self._settings, scores, statistics)
        return scores, statistics

    def _forget(self) -> None:
        """Drop the words that only hypotheses had, so that memory stays bounded."""
        known = list(self._table.numbers)[: self._known]
        self._table = WordTable(self._paraphrases.numbers)
        self._table.number(known)
        self._tokens = {}
