"""References of chrF, whose character n-grams are counted once, so that batches are scored without sacrebleu's loops, and alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import chrf_kernels
from seqrl.metrics.item_texts import text_of
from seqrl.metrics.rows import starts_of
from seqrl.metrics.text_scores import check_items

_BITS = 62  # of a whole number that holds an n-gram


class ChrFReferences:
    """Sorted character n-grams of every reference, each a whole number made of the numbers of the item's characters.

    Args:
        references: for each item its references as lists of words.
        order: longest n-gram, in characters.
        beta: weight of recall against precision.
        lowercase: compare without case.
        whitespace: spaces count as characters.

    Raises:
        OverflowError: where an item has so many different characters that an n-gram fits no whole number.
    """

    def __init__(
        self, references: Sequence[Sequence[Sequence[str]]], *, order: int, beta: float, lowercase: bool, whitespace: bool
    ) -> None:
        self.order, self.beta, self.lowercase, self.whitespace = order, float(beta), lowercase, whitespace
        texts = [[self._text(sentence) for sentence in sentences] for sentences in references]
        self.alphabets = [{letter: n for n, letter in enumerate(dict.fromkeys("".join(rows)))} for rows in texts]
        self.bits = np.array([max(len(alphabet) - 1, 1).bit_length() for alphabet in self.alphabets], np.int64)
        if len(self.bits) and int(self.bits.max()) * order > _BITS:
            raise OverflowError(f"n-grams of {order} characters out of {max(map(len, self.alphabets))} fit no whole number")
        self.item_references = starts_of([len(rows) for rows in texts])
        grams, lengths = [], []
        for rows, alphabet, bits in zip(texts, self.alphabets, self.bits, strict=True):
            for text in rows:
                found, counts = np.empty((order, len(text)), np.int64), np.empty(order, np.int64)
                chrf_kernels.sorted_grams(np.array([alphabet[letter] for letter in text], np.int64), bits, order, found, counts)
                grams += [found[n, :count] for n, count in enumerate(counts)]
                lengths += counts.tolist()
        self.grams = np.concatenate(grams) if grams else np.zeros(0, np.int64)
        self.starts = starts_of(lengths)

    def score(self, hypotheses: Sequence[Sequence[str]], items: Sequence[int]) -> NDArray[np.float64]:
        """Score hypotheses of words, each against the references of its item; [N] float64."""
        check_items(hypotheses, items, len(self.alphabets))
        texts = [self._text(words) for words in hypotheses]
        numbers = chain.from_iterable(map(self.alphabets[item].get, text, repeat(-1)) for text, item in zip(texts, items, strict=True))
        lengths = starts_of([len(text) for text in texts])
        characters = np.fromiter(numbers, np.int64, int(lengths[-1]))
        scores = np.empty(len(texts), np.float64)
        places = np.fromiter(items, np.int64, len(texts))
        chrf_kernels.chrf_scores(
            characters, lengths, places, self.bits, self.item_references, self.grams, self.starts, self.order, self.beta, scores
        )
        return scores

    def _text(self, words: Sequence[str]) -> str:
        text = text_of(words)
        text = text.lower() if self.lowercase else text
        return text if self.whitespace else "".join(text.split())
