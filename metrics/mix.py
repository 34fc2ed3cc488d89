"""A weighted sum of metrics over token ids: what a captioner is rewarded with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.token_scores import TokenMetric


class MetricMix:
    """Weighted sum of metrics against references that are counted once for all of them.

    score = sum_k weight_k metric_k, each metric in its own range (CIDEr 0 to 10, the others 0 to 1).

    Args:
        weights: metric name -> weight, for instance {"cider_d": 1.0, "bleu4": 0.5}.
        references: for each item its references, each a row of token ids without begin, end or padding.
        document_frequency: frequencies of a corpus for the CIDErs; None counts them over these references.
        end: id of the end token; a row is read up to its first one.
        score_end: the end token counts as a word in every metric.
        tokenisation: name or fingerprint of what made the ids; refused where `document_frequency` names another.

    Raises:
        ValueError: for an unknown name, no weight at all, a weight that is not finite, a metric of strings only, or what
            `ReferenceIndex` and CIDEr refuse.
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
    ) -> None:
        if not weights:
            raise ValueError("a mix of metrics needs at least one weight, for instance {'cider_d': 1.0}")
        self.weights = {name: float(weight) for name, weight in weights.items()}
        self.metrics: dict[str, TokenMetric] = {}
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {name} must be a finite number, got {weight}")
            metric = metric_by_name(name)
            if not isinstance(metric, TokenMetric):
                raise ValueError(
                    f"{name} scores strings only, as they were written, and token ids have none; reward bleu4 or bleu4_smoothed instead, "
                    f"and score written captions with `seqrl score --metrics {name}`"
                )
            self.metrics[name] = metric
        self.index = ReferenceIndex(
            references,
            max_n=4 if document_frequency is None else document_frequency.max_n,
            end=end,
            score_end=score_end,
            document_frequency=document_frequency,
            tokenisation=tokenisation,
        )
        if {"cider_d", "cider"} & set(self.metrics):
            self.index.prepare_cider()

    def parts(self, tokens: ArrayLike, lengths: ArrayLike, items: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Score rows with each metric by itself, unweighted: name -> [N] float64; arguments as in `score`."""
        rows = self.index.check(tokens, lengths, items)
        return {name: metric.score_rows(self.index, rows) for name, metric in self.metrics.items()}

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
        return np.sum([self.weights[name] * scores for name, scores in parts.items()], axis=0, dtype=np.float64)
