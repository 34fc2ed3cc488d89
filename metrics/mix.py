"""A weighted sum of metrics over token ids and over the words that they stand for: what a captioner is rewarded with."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqrl.metrics.by_name import metric_by_name, reads_document_frequency, require_rewardable, require_weight
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import HypothesisRows, require_list
from seqrl.metrics.text_scores import PreparedText
from seqrl.metrics.token_scores import TokenMetric


class MetricMix:
    """Weighted sum of metrics against references that are counted once for all of them.

    score = sum_k weight_k metric_k, each metric in its own range (CIDEr 0 to 10, SPICE, METEOR, BLEU and ROUGE 0 to 1).

    Args:
        weights: metric name -> weight, for instance {"cider_d": 1.0, "bleu4": 0.5}.
        references: for each item its references, each a row of token ids without begin, end or padding.
        document_frequency: frequencies of a corpus for the CIDErs; None counts them over these references.
        end: id of the end token; a row is read up to its first one.
        score_end: the end token counts as a word in every metric.
        tokenisation: name or fingerprint of what made the ids; refused where `document_frequency` names another.
        numbers: the words' ids, word i in place i; what metrics of words such as SPICE spell ids with. Words may be added to it later.
            These metrics never score the end of a sentence.
        settings: of metrics by name, such as {"slot_error": {"prefix": "SLOT_"}}.

    Raises:
        ValueError: for an unknown name, no weight at all, a weight that is not finite, or above 0 where less is better, a metric of whole
            corpora or of strings only, one of words without `numbers`, or what `ReferenceIndex` and CIDEr refuse.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        references: Sequence[Sequence[Sequence[int]]],
        *,
        document_frequency: DocumentFrequency | None = None,
        end: int | None = None,
        score_end: bool = False,
        tokenisation: str | None = None,
        numbers: Mapping[str, int] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        require_list(references, "the references", "lists of rows")
        if not weights:
            raise ValueError("a mix of metrics needs at least one weight, for instance {'cider_d': 1.0}")
        self.weights = {name: float(weight) for name, weight in weights.items()}
        self.metrics: dict[str, TokenMetric] = {}
        self.texts: dict[str, PreparedText] = {}
        self._end, self._numbers, self._words = end, numbers, list(numbers or ())
        self._lock = threading.Lock()
        spelled: list[list[list[str]]] | None = None
        if numbers is not None and list(numbers.values()) != list(range(len(numbers))):
            raise ValueError("numbers: expected the words with the ids 0, 1, 2, ... in this order")
        for name, weight in self.weights.items():
            require_weight(name, weight)
            require_rewardable(name)
            metric = metric_by_name(name, **(settings or {}).get(name, {}))
            if isinstance(metric, TokenMetric):
                self.metrics[name] = metric
            elif numbers is None:
                raise ValueError(f"{name} scores words, and nothing says which words the ids stand for; pass numbers={{word: id}}")
            elif document_frequency is not None and hasattr(metric, "document_frequency"):
                raise ValueError(f"{name} counts its own document frequencies over the words of the references; give none, or leave it out")
            else:
                spelled = spelled or [[self._words_of(row) for row in rows] for rows in references]
                self.texts[name] = metric.prepare_words(spelled)
        self.index = ReferenceIndex(
            references,
            max_n=document_frequency.max_n if document_frequency is not None else 4 if self.metrics else 1,
            end=end,
            score_end=score_end,
            document_frequency=document_frequency,
            tokenisation=tokenisation,
        )
        if any(map(reads_document_frequency, self.metrics)):
            self.index.prepare_cider()

    def parts(self, tokens: ArrayLike, lengths: ArrayLike, items: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Score rows with each metric by itself, unweighted: name -> [N] float64; arguments as in `score`."""
        rows = self.index.check(tokens, lengths, items)
        scores = {name: metric.score_rows(self.index, rows) for name, metric in self.metrics.items()}
        if self.texts:
            with self._lock:  # these keep what they have read, and several threads may score
                words, places = self._spelled(rows), rows.items.tolist()
                scores |= {name: prepared.score(words, places) for name, prepared in self.texts.items()}
        return {name: scores[name] for name in self.weights}

    def _spelled(self, rows: HypothesisRows) -> list[list[str]]:
        assert self._numbers is not None
        if len(self._words) != len(self._numbers):
            self._words = list(self._numbers)
        spelled = []
        for row, length in zip(rows.tokens.tolist(), rows.lengths.tolist(), strict=True):
            ids = row[:length]
            ids = ids[: ids.index(self._end)] if self._end in ids else ids
            spelled.append(self._words_of(ids))
        return spelled

    def _words_of(self, ids: Sequence[int]) -> list[str]:
        try:
            return [self._words[token] for token in ids]
        except IndexError:
            raise ValueError(f"token ids: expected those of {len(self._words)} words (numbers), got {max(ids)}") from None

    def score(self, tokens: ArrayLike, lengths: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Score rows of token ids.

        Args:
            tokens: [N, T] int64; what follows a row's length or its first end token is never read.
            lengths: [N] int64 tokens in each row, the end token included or not.
            items: [N] int64 whose references each row is compared with.

        Returns:
            [N] float64 weighted sums.
        """
        parts = self.parts(tokens, lengths, items)
        return sum((self.weights[name] * scores for name, scores in parts.items()), np.zeros(np.shape(items)))
