"""Replies to a fixed set of prompts, as texts and as words, scored as a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqrl.metrics import by_name
from seqrl.metrics.corpus import Corpus
from seqrl.run.registry import nearest
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.text.data import TextSplit
from seqrl.tasks.writing.decoded import Decoded, batches_of, beam_texts, greedy_texts
from seqrl.tasks.writing.own_metrics import OwnMetric, functions_among, refuse_two_metrics
from seqrl.tasks.writing.own_rewards import mean_score
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.trl_form import Notes
from seqrl.tasks.writing.vocabulary import AnyVocabulary

METRICS = ("sacrebleu", "bleu4")
# What else is reported of all replies.
FIGURES = ("length", "length_ratio", "distinct1", "distinct2", "unfinished", "unknown_slots", "broken_slots")


@dataclass
class EvaluationConfig:
    """How replies are written and scored in evaluations.

    Attributes:
        max_prompts: only the first ones of the split, for quick evaluations during training; 0 takes all.
        prompts_per_batch: prompts answered at a time.
        beam_size: also report beam search of this width, under `beam/`; 0 leaves it out.
        length_penalty: exponent of the length by which beam search divides a reply's log-probability.
        metrics: names of metrics to report besides the usual ones, or functions of one's own as `module:name`, of the form of
            `reward.function`, whose mean is reported under their name; those of the reward and of early stopping are reported anyhow.
    """

    max_prompts: NotNegative[int] = 0
    prompts_per_batch: Count = 128
    beam_size: NotNegative[int] = 0
    length_penalty: float = 0.0
    metrics: list[str] = field(default_factory=list, metadata={NAMES_CODE: ()})

    def __post_init__(self) -> None:
        check_settings(self)
        for name in self.registered:
            if name not in by_name.METRICS:
                raise ValueError(f"metrics: there is no metric {name!r}; {nearest(name, by_name.METRICS)}")
        refuse_two_metrics(self.functions, FIGURES)

    @property
    def registered(self) -> list[str]:
        """Names of metrics."""
        return [name for name in self.metrics if ":" not in name]

    @property
    def functions(self) -> list[str]:
        """Functions of one's own."""
        return functions_among(self.metrics)


Reply = Decoded


# Replies of each batch of a process: greedy ones, and under "beam/" those of beam search.
Share = dict[str, list[list[Decoded]]]


def replies_of(policy: Any, split: TextSplit, vocabulary: AnyVocabulary, config: EvaluationConfig, part: int = 0, parts: int = 1) -> Share:
    """Reply to a process's share of the prompts; `part` is its number among `parts`."""
    batches = batches_of(min(config.max_prompts or len(split), len(split)), config.prompts_per_batch, part, parts)
    share = {"": [greedy_texts(policy, _contexts(policy, split, [rows]), vocabulary) for rows in batches]}
    if config.beam_size > 1:
        share["beam/"] = [beam_texts(policy, _contexts(policy, split, [rows]), vocabulary, **_beam(config)) for rows in batches]
    return share


def greedy_replies(policy: Any, split: TextSplit, vocabulary: AnyVocabulary, config: EvaluationConfig, count: int) -> list[Reply]:
    """Write the most probable reply, token by token, to the first `count` prompts."""
    return greedy_texts(policy, _contexts(policy, split, batches_of(count, config.prompts_per_batch)), vocabulary)


def beam_replies(policy: Any, split: TextSplit, vocabulary: AnyVocabulary, config: EvaluationConfig, count: int) -> list[Reply]:
    """Write replies by beam search to the first `count` prompts."""
    return beam_texts(policy, _contexts(policy, split, batches_of(count, config.prompts_per_batch)), vocabulary, **_beam(config))


def score_replies(
    replies: Sequence[Reply],
    split: TextSplit,
    vocabulary: AnyVocabulary,
    metrics: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, float]:
    """Score replies to the first prompts of a split.

    Args:
        replies: N of them.
        split: prompts and references.
        vocabulary: what a word is.
        metrics: names; those of text as it was written get texts, the others words.
        settings: of metrics by name.

    Returns:
        Each metric's corpus metric, then `length` (words), `length_ratio` (words over those of the references that are nearest in length),
        `distinct1`, `distinct2`, and `unfinished` (share of the replies that were cut at the longest length).
    """
    words, references = [reply.words for reply in replies], split.words[: len(replies)]
    texts = [vocabulary.tokenisation.join(each) for each in words]
    kinds = {True: Corpus(words, references), False: Corpus(texts, split.references[: len(replies)])}
    made = {name: by_name.metric_by_name(name, **settings.get(name, {})) for name in metrics}
    values = {name: kinds[by_name.scores_words(name)].corpus_score(metric) for name, metric in made.items()}
    lengths = [len(each) for each in words]
    nearest_lengths = [min((abs(len(r) - n), len(r)) for r in rs)[1] for n, rs in zip(lengths, references, strict=True)]
    return values | {
        "length": float(np.mean(lengths)),
        "length_ratio": sum(lengths) / sum(nearest_lengths),
        **{f"distinct{n}": by_name.metric_by_name(f"distinct{n}").corpus(words) for n in (1, 2)},
        "unfinished": float(np.mean([not reply.ended for reply in replies])),
    }


def score_own_metrics(own: Mapping[str, OwnMetric], texts: Sequence[str], split: TextSplit, size: int) -> dict[str, float]:
    """Average what functions of one's own give for replies to the first prompts of a split, no more replies a call than `size`."""
    return {value: mean_score(metric.score, texts, split, size) for value, metric in own.items()}


def scores_of(replies: Sequence[Reply], split: TextSplit, reward: TextReward, notes: Notes) -> list[float]:
    """Give what a reward pays for replies to the first prompts of a split, each by itself, without its end.

    Args:
        replies: N of them.
        split: prompts and references.
        reward: of the task.
        notes: what functions of one's own log meanwhile.
    """
    count, words = len(replies), [reply.words for reply in replies]
    texts = [reward.vocabulary.tokenisation.join(each) for each in words]
    if reward.own is not None:
        return reward.own.score_first(texts, split, notes)
    total = np.zeros(count)
    for name, weight in reward.weights.items():
        metric = by_name.metric_by_name(name, **reward.config.settings.get(name, {}))
        of_words = by_name.scores_words(name)
        total += weight * metric.score(words if of_words else texts, split.words[:count] if of_words else split.references[:count])
    return [float(score) for score in total]


def _beam(config: EvaluationConfig) -> dict[str, Any]:
    return {"beam_size": config.beam_size, "length_penalty": config.length_penalty}


def _contexts(policy: nn.Module, split: TextSplit, batches: Sequence[slice]) -> Iterator[dict[str, dict[str, Tensor]]]:
    device = next(policy.parameters()).device
    for rows in batches:
        yield {"image": {name: leaf.to(device) for name, leaf in split.rows(rows).items()}}
