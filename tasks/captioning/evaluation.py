"""Captions of a fixed set of images, scored with every metric and looked over for the known troubles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from seqrl.metrics import by_name
from seqrl.metrics.corpus import Corpus
from seqrl.run.registry import nearest
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, Limit, NotNegative, check_settings
from seqrl.tasks.captioning.data import CaptionSplit, rows_of
from seqrl.tasks.captioning.facts import fact_metrics
from seqrl.tasks.writing.decoded import Decoded, batches_of, beam_texts, greedy_texts, in_order
from seqrl.tasks.writing.own_metrics import functions_among, refuse_two_metrics
from seqrl.tasks.writing.own_rewards import mean_score
from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary
from seqrl.trees import map_tree

METRICS = ("cider_d", "cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l")

# What else is reported of all captions.
FIGURES = ("length", "bad_endings", "distinct", "vocabulary")

# A finished English caption does not end with one of these.
BAD_ENDINGS = frozenset(
    "a an the with of in on at to and or by from for into onto near over under behind beside between above below through "
    "is are was were be being while as that which who his her its their there this these those".split()
)

Finite = Annotated[float, Limit("a positive, finite number", lambda value: 0 < value < math.inf)]


@dataclass
class EvaluationConfig:
    """How captions are written and scored in evaluations.

    Attributes:
        max_images: only the first ones of the split, for quick evaluations during training; 0 takes all.
        images_per_batch: images captioned at a time.
        beam_size: also report beam search of this width, under `beam/`; 0 leaves it out.
        length_penalty: exponent of the length by which beam search divides a caption's log-probability.
        temperature: by which beam search divides the logits, in place of `policy.temperature`, which is for sampling; null for that one.
        metrics: names of metrics to report besides the usual ones, or functions of one's own as `module:name`, of the form of
            `reward.function`, whose mean is reported under their name; those of the reward and of early stopping are reported anyhow.
    """

    max_images: int = 0
    images_per_batch: Count = 100
    beam_size: NotNegative[int] = 0
    length_penalty: float = 0.0
    temperature: Finite | None = None
    metrics: list[str] = field(default_factory=list, metadata={NAMES_CODE: ()})

    def __post_init__(self) -> None:
        check_settings(self)
        if self.max_images < 0 or self.max_images == 1:
            raise ValueError(f"max_images: expected 0 (all) or at least 2, since CIDEr over one image is always 0, got {self.max_images}")
        for name in self.registered:
            if name not in by_name.METRICS:
                raise ValueError(f"metrics: there is no metric {name!r}; {nearest(name, by_name.METRICS)}")
            if not by_name.takes_words(name):
                raise ValueError(
                    f"metrics: {name} scores strings only, as they were written, and captioners' words have lost case and punctuation; "
                    f"report bleu4 or bleu4_smoothed instead, and score written captions with `seqrl score --metrics {name}`"
                )
        refuse_two_metrics(self.functions, FIGURES)

    @property
    def registered(self) -> list[str]:
        """Names of metrics."""
        return [name for name in self.metrics if ":" not in name]

    @property
    def functions(self) -> list[str]:
        """Functions of one's own."""
        return functions_among(self.metrics)


# Scores captions, words with spaces between, beside what is known about their images: of a `seqrl.tasks.writing.asked.Asked`.
Function = Callable[..., NDArray[np.float64]]


def evaluate_captions(
    policy: nn.Module,
    split: CaptionSplit,
    vocabulary: Vocabulary | TokenizerVocabulary,
    config: EvaluationConfig,
    functions: Mapping[str, Function] | None = None,
) -> dict[str, float]:
    """Caption the images and score the captions; see `metrics_of`."""
    return metrics_of([captions_of(policy, split, vocabulary, config)], split, vocabulary, config, functions)


# Captions of each batch of a process: greedy ones, and under "beam/" those of beam search.
Share = dict[str, list[list[Decoded]]]


def captions_of(
    policy: nn.Module,
    split: CaptionSplit,
    vocabulary: Vocabulary | TokenizerVocabulary,
    config: EvaluationConfig,
    part: int = 0,
    parts: int = 1,
) -> Share:
    """Caption a process's share of the images.

    Args:
        policy: see `seqrl.decoding.sample`.
        split: images and references.
        vocabulary: what the token ids stand for.
        config: see `EvaluationConfig`.
        part: number of the process.
        parts: of processes.
    """
    count = min(config.max_images or len(split), len(split))
    batches = batches_of(count, config.images_per_batch, part, parts)
    share = {"": [greedy_texts(policy, _contexts(policy, split, [rows]), vocabulary) for rows in batches]}
    if config.beam_size > 1:
        share["beam/"] = [beam_texts(policy, _contexts(policy, split, [rows]), vocabulary, **_beam(config)) for rows in batches]
    return share


def metrics_of(
    shares: Sequence[Share],
    split: CaptionSplit,
    vocabulary: Vocabulary | TokenizerVocabulary,
    config: EvaluationConfig,
    functions: Mapping[str, Function] | None = None,
) -> dict[str, float]:
    """Score the captions of all processes, as a corpus.

    Args:
        shares: what `captions_of` gave to each process.
        split: images and references; document frequencies are those of these references, as published metrics have it.
        vocabulary: what the token ids stand for.
        config: see `EvaluationConfig`.
        functions: of one's own, by the name of their metric.

    Returns:
        For greedy decoding each metric's corpus metric, then `length` (words), `bad_endings` (share of captions that break
        off: at the maximum length, or with a word that ends no sentence), `distinct` (share of different captions) and
        `vocabulary` (different words used); for drawn scenes also what `fact_metrics` gives. The same under `beam/` where
        `beam_size` is set.

    Raises:
        ValueError: when there are fewer than two images, which would make every CIDEr 0.
    """
    metrics = list(dict.fromkeys([*METRICS, *config.registered]))
    values: dict[str, float] = {}
    for kind in shares[0]:
        captions = in_order([share[kind] for share in shares])
        texts = [vocabulary.tokenisation.join(words) for words, _ in captions]
        own = {name: _mean_score(function, texts, split, config.images_per_batch) for name, function in (functions or {}).items()}
        values |= {f"{kind}{name}": number for name, number in (score_captions(captions, split, metrics) | own).items()}
    return values


def _mean_score(function: Function, captions: Sequence[str], split: CaptionSplit, size: int) -> float:
    return mean_score(function, captions, split, size)


Caption = Decoded


def greedy_captions(
    policy: nn.Module, split: CaptionSplit, vocabulary: Vocabulary | TokenizerVocabulary, config: EvaluationConfig, count: int
) -> list[Caption]:
    """Write the most probable caption, token by token, for the first `count` images."""
    return greedy_texts(policy, _contexts(policy, split, batches_of(count, config.images_per_batch)), vocabulary)


def beam_captions(
    policy: nn.Module, split: CaptionSplit, vocabulary: Vocabulary | TokenizerVocabulary, config: EvaluationConfig, count: int
) -> list[Caption]:
    """Write captions by beam search for the first `count` images."""
    return beam_texts(policy, _contexts(policy, split, batches_of(count, config.images_per_batch)), vocabulary, **_beam(config))


def write_captions(
    policy: nn.Module, split: CaptionSplit, vocabulary: Vocabulary | TokenizerVocabulary, config: EvaluationConfig, *, count: int
) -> tuple[list[str], list[float]]:
    """Caption the first images greedily; give the captions and each one's CIDEr-D over the split's document frequencies."""
    captions = greedy_captions(policy, split, vocabulary, config, min(count, len(split)))
    return [vocabulary.tokenisation.join(words) for words, _ in captions], cider_d_of(captions, split)


def cider_d_of(captions: Sequence[Caption], split: CaptionSplit) -> list[float]:
    """Score captions of the first images with CIDEr-D, document frequencies from the whole split."""
    # The metric takes the frequencies of the references at hand, so the other images come along without a caption.
    padded = [words for words, _ in captions] + [[]] * (len(split) - len(captions))
    return by_name.metric_by_name("cider_d").score(padded, split.words)[: len(captions)].tolist()


def _beam(config: EvaluationConfig) -> dict[str, Any]:
    return {"beam_size": config.beam_size, "length_penalty": config.length_penalty, "temperature": config.temperature}


def _contexts(policy: nn.Module, split: CaptionSplit, batches: Sequence[slice]) -> Any:
    device = next(policy.parameters()).device
    for rows in batches:
        yield {"image": map_tree(lambda leaf: leaf.to(device), rows_of(split.images, rows))}


def score_captions(captions: Sequence[Caption], split: CaptionSplit, metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """Score captions of the first images of a split; see `evaluate_captions` for the metrics."""
    hypotheses, references = [words for words, _ in captions], split.words[: len(captions)]
    corpus = Corpus(hypotheses, references)
    values = {name: corpus.corpus_score(by_name.metric_by_name(name)) for name in metrics}
    broken = [not ended or not words or words[-1] in BAD_ENDINGS for words, ended in captions]
    values |= {
        "length": float(np.mean([len(words) for words in hypotheses])),
        "bad_endings": float(np.mean(broken)),
        "distinct": len({tuple(words) for words in hypotheses}) / len(hypotheses),
        "vocabulary": float(len({word for words in hypotheses for word in words})),
    }
    return values if split.scenes is None else values | fact_metrics(hypotheses, split.scenes[: len(captions)])
