"""Captions of a fixed set of images, scored with every metric and looked over for the known troubles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from torch import nn

from seqrl.metrics import by_name
from seqrl.metrics.corpus import Corpus
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, Limit, NotNegative, check_settings
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.facts import fact_metrics
from seqrl.tasks.writing.decoded import Decoded, batches_of, greedy_texts, in_order, share_of
from seqrl.tasks.writing.own_metrics import check_metrics, registered_among
from seqrl.tasks.writing.vocabulary import AnyVocabulary

METRICS = ("cider_d", "cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l")

# What else is reported of all captions.
FIGURES = ("length", "bad_endings", "distinct", "vocabulary")

# A finished English caption does not end with one of these.
BAD_ENDINGS = frozenset(
    "a an the with of in on at to and or by from for into onto near over under behind beside between above below through "
    "is are was were be being while as that which who his her its their there this these those".split()
)

AllOrSeveral = Annotated[int, Limit("0 (all) or at least 2, since CIDEr over one image is always 0", lambda value: value == 0 or value > 1)]
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

    max_images: AllOrSeveral = 0
    images_per_batch: Count = 100
    beam_size: NotNegative[int] = 0
    length_penalty: float = 0.0
    temperature: Finite | None = None
    metrics: list[str] = field(default_factory=list, metadata={NAMES_CODE: ()})

    def __post_init__(self) -> None:
        check_settings(self)
        check_metrics(self.metrics, FIGURES)
        refuse_string_metrics(registered_among(self.metrics))

    @property
    def beam(self) -> dict[str, Any]:
        """How beam search goes; empty where there is none."""
        settings = {"beam_size": self.beam_size, "length_penalty": self.length_penalty, "temperature": self.temperature}
        return settings if self.beam_size > 1 else {}


def refuse_string_metrics(names: Sequence[str]) -> None:
    """Refuse metrics of texts as they were written, which captioners' words cannot have.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        if not by_name.takes_words(name):
            raise ValueError(
                f"metrics: {name} scores strings only, as they were written, and captioners' words have lost case and punctuation; "
                f"report bleu4 or bleu4_smoothed instead, and score written captions with `seqrl score --metrics {name}`"
            )


def evaluate_captions(policy: nn.Module, split: CaptionSplit, vocabulary: AnyVocabulary, config: EvaluationConfig) -> dict[str, float]:
    """Caption the images and score the captions, as a corpus.

    Args:
        policy: see `seqrl.decoding.sample`.
        split: images and references; document frequencies are those of these references, as published scores have it.
        vocabulary: what the token ids stand for.
        config: see `EvaluationConfig`.

    Returns:
        What `score_captions` gives of greedy decoding. The same under `beam/` where `beam_size` is set.
    """
    share = share_of(policy, split, vocabulary, config.beam, most=config.max_images, size=config.images_per_batch)
    metrics = list(dict.fromkeys([*METRICS, *registered_among(config.metrics)]))
    found = {kind: score_captions(in_order([texts]), split, metrics) for kind, texts in share.items()}
    return {f"{kind}{name}": number for kind, scores in found.items() for name, number in scores.items()}


def greedy_captions(
    policy: nn.Module, split: CaptionSplit, vocabulary: AnyVocabulary, config: EvaluationConfig, count: int
) -> list[Decoded]:
    """Write the most probable caption, token by token, for the first `count` images."""
    return greedy_texts(policy, split.rows, batches_of(count, config.images_per_batch), vocabulary)


def write_captions(
    policy: nn.Module, split: CaptionSplit, vocabulary: AnyVocabulary, config: EvaluationConfig, *, count: int
) -> tuple[list[str], list[float]]:
    """Caption the first images greedily; give the captions and each one's CIDEr-D over the split's document frequencies."""
    captions = greedy_captions(policy, split, vocabulary, config, min(count, len(split)))
    return [vocabulary.tokenisation.join(words) for words, _ in captions], cider_d_of(captions, split)


def cider_d_of(captions: Sequence[Decoded], split: CaptionSplit) -> list[float]:
    """Score captions of the first images with CIDEr-D, document frequencies from the whole split."""
    # The metric takes the frequencies of the references at hand, so the other images come along without a caption.
    padded = [words for words, _ in captions] + [[]] * (len(split) - len(captions))
    return by_name.metric_by_name("cider_d").score(padded, split.words)[: len(captions)].tolist()


def score_captions(captions: Sequence[Decoded], split: CaptionSplit, metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """Score captions of the first images of a split, at least two, or every CIDEr would be 0.

    Returns:
        Each metric's corpus score, then `length` (words), `bad_endings` (share of captions that break off: at the maximum length, or with
        a word that ends no sentence), `distinct` (share of different captions) and `vocabulary` (different words used); for drawn scenes
        also what `fact_metrics` gives.
    """
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
