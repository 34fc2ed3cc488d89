"""Replies to a fixed set of prompts, as texts and as words, scored as a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqrl.metrics import by_name
from seqrl.metrics.corpus import Corpus
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.text.data import TextSplit
from seqrl.tasks.writing.decoded import Decoded
from seqrl.tasks.writing.own_metrics import check_metrics
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.trl_form import Notes
from seqrl.tasks.writing.vocabulary import AnyVocabulary

METRICS = ("sacrebleu", "bleu4")
# What else is reported of all replies; of the last ones less is better.
SMALLER = ("unfinished", "unknown_slots", "broken_slots")
FIGURES = ("length", "length_ratio", "distinct1", "distinct2", *SMALLER)


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
        check_metrics(self.metrics, FIGURES)

    @property
    def beam(self) -> dict[str, Any]:
        """How beam search goes; empty where there is none."""
        return {"beam_size": self.beam_size, "length_penalty": self.length_penalty} if self.beam_size > 1 else {}


def score_replies(
    replies: Sequence[Decoded],
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
        Each metric's corpus score, then `length` (words), `length_ratio` (words over those of the references that are nearest in length),
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


def scores_of(replies: Sequence[Decoded], split: TextSplit, reward: TextReward, notes: Notes) -> list[float]:
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
