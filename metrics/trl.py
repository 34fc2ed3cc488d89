"""Metrics as reward functions of TRL: `GRPOTrainer(reward_funcs=reward("cider_d", document_frequency=data["references"]), ...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.by_name import metric_by_name, needs_images, require_weight, scores_corpus_only, scores_words
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.limits import brief
from seqrl.metrics.tokenisations import tokenisation_by_name


def reward(
    metrics: str | Mapping[str, float],
    *,
    references: str = "references",
    images: str = "image",
    document_frequency: DocumentFrequency | str | Path | Sequence[str | Sequence[str]] | None = None,
    tokens: str = "ptb",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    name: str = "",
) -> MetricReward:
    """Make a reward function that TRL's trainers call.

    score = sum_k weight_k metric_k, each metric in its own range, of what the assistant wrote against the references of the same row

    Args:
        metrics: name of a metric, or weights of several by name, below 0 where less is better.
        references: column of the data set with a text, or a list of texts, in each row; a row with None, or with none, gets None.
        images: column with what metrics that look at images need.
        document_frequency: for the CIDErs and SPIDEr: the references of a corpus, such as that column of the training data, of which they
            are counted once; or counted ones, or a file of them.
        tokens: what a word is: "ptb", "spaces" or "characters". Metrics of text as it was written get that.
        settings: of metrics by name, such as {"slot_error": {"prefix": "SLOT_"}}.
        name: what the trainer logs it as; the metric's name, or the names with + between, when empty.

    Raises:
        ValueError: for an unknown metric, one that has no score for a single text, a weight that is none or has the wrong sign, or missing
            document frequencies.
    """
    weights = {metrics: 1.0} if isinstance(metrics, str) else metrics
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"metrics: expected a metric's name, or weights by name such as {{'cider_d': 1.0}}, got {brief(metrics)}")
    for metric, weight in weights.items():
        require_weight(metric, weight)
        if scores_corpus_only(metric):
            raise ValueError(f"{metric} has one score for all texts together and none for each, so nothing can be rewarded with it")
    if unknown := sorted(set(settings or {}) - set(weights)):
        raise ValueError(f"settings: expected those of {', '.join(weights)}, got some of {unknown[0]}")
    tokenisation = tokenisation_by_name(tokens)
    counted: DocumentFrequency | None = None
    made: dict[str, Any] = {}
    for metric in weights:
        own = dict((settings or {}).get(metric, {}))
        if hasattr(metric_by_name(metric, **own), "document_frequency") and "document_frequency" not in own:
            counted = counted or _counted(document_frequency, metric, tokens)
            own["document_frequency"] = counted
        made[metric] = metric_by_name(metric, **own)
    if document_frequency is not None and counted is None:
        raise ValueError(f"document_frequency: expected none, since {', '.join(weights)} does not weigh n-grams by it")
    return MetricReward(made, dict(weights), references, images, tokenisation.name, name or "+".join(weights))


class MetricReward:
    """A reward function in TRL's form; see `reward`, which makes it.

    Args:
        metrics: by name.
        weights: of each.
        references: column.
        images: column.
        tokens: name of the tokenisation.
        name: becomes `__name__`, under which TRL logs it.
    """

    def __init__(self, metrics: Mapping[str, Any], weights: Mapping[str, float], references: str, images: str, tokens: str, name: str):
        self.metrics, self.weights = dict(metrics), dict(weights)
        self.references, self.images, self.tokens = references, images, tokens
        self.__name__ = name

    def __call__(self, *, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Score completions, texts or lists of messages, each against the references in its row of the columns.

        Raises:
            ValueError: when there is no such column, a row holds something else than texts, or a completion is no text.
        """
        texts = [completion_text(completion) for completion in completions]
        references = [_row_references(row, self.references) for row in self._column(columns, self.references, len(texts))]
        rows = [row for row, given in enumerate(references) if given]
        scores: list[float | None] = [None] * len(texts)
        if rows:
            images = None
            if any(needs_images(name) for name in self.metrics):
                column = self._column(columns, self.images, len(texts))
                images = [column[row] for row in rows]
            total = self._score([texts[row] for row in rows], [references[row] for row in rows], images)
            for row, score in zip(rows, total.tolist(), strict=True):
                scores[row] = score
        return scores

    def _score(self, texts: list[str], references: list[list[str]], images: list[Any] | None) -> NDArray[np.float64]:
        split = tokenisation_by_name(self.tokens).split
        words = [split(text) for text in texts]
        reference_words = [[split(text) for text in given] for given in references]
        total = np.zeros(len(texts))
        for name, metric in self.metrics.items():
            pairs: tuple[Any, Any] = (words, reference_words) if scores_words(name) else (texts, references)
            total += self.weights[name] * metric.score(*pairs, **({"images": images} if needs_images(name) else {}))
        return total

    def _column(self, columns: Mapping[str, Any], name: str, number: int) -> Sequence[Any]:
        if name not in columns:
            known = ", ".join(sorted(columns.keys() - {"prompts", "completion_ids", "trainer_state", "log_extra", "log_metric"})) or "none"
            raise ValueError(f"the reward {self.__name__}: expected a column {name!r} in the data set, which has {known}; name another one")
        column: Sequence[Any] = columns[name]
        if len(column) != number:
            raise ValueError(f"the reward {self.__name__}: expected {number} rows in the column {name!r}, got {len(column)}")
        return column


def completion_text(completion: Any) -> str:
    """Give the text of a completion: itself, or what the last message of the assistant says.

    Raises:
        ValueError: when it is neither a text nor a list of messages.
    """
    if isinstance(completion, str):
        return completion
    if isinstance(completion, list | tuple) and all(isinstance(message, Mapping) for message in completion):
        written = [message.get("content") for message in completion if message.get("role") == "assistant"]
        content = written[-1] if written else ""
        if isinstance(content, list):  # blocks, of which some may be images
            content = "".join(str(block.get("text", "")) for block in content if isinstance(block, Mapping))
        if content is None or isinstance(content, str):  # None where it calls a tool
            return content or ""
    raise ValueError(f"expected a completion as a text or a list of messages, got {brief(completion)}")


def _row_references(row: Any, column: str) -> list[str]:
    given = [] if row is None else [row] if isinstance(row, str) else row
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"column {column!r}: expected a text or a list of texts in each row, got {brief(row)}")
    return list(given)


def _counted(given: Any, metric: str, tokens: str) -> DocumentFrequency:
    """Count document frequencies, where that is not done yet."""
    if given is None:
        raise ValueError(
            f"{metric} weighs n-grams by how many items of a corpus have them, and the rows of a batch are no corpus; give "
            "document_frequency=data['references'], the references of the training data"
        )
    if isinstance(given, DocumentFrequency):
        return given
    if isinstance(given, str | Path):
        return DocumentFrequency.load(given)
    split = tokenisation_by_name(tokens).split
    rows = [_row_references(row, "document_frequency") for row in given]
    return DocumentFrequency.from_references([[split(text) for text in row] for row in rows if row], tokenisation=tokens)
