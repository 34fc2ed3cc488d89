"""Captioning as a task: images in, captions out, scored as wholes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.metrics.by_name import reads_document_frequency
from seqrl.policies.tokens import end_tokens
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.captioning.data import CaptionData, DataConfig, load_data, rows_of
from seqrl.tasks.captioning.diagnostics import warnings_for
from seqrl.tasks.captioning.evaluation import FIGURES, METRICS, EvaluationConfig, refuse_string_metrics, score_captions, write_captions
from seqrl.tasks.captioning.facts import FIGURES as FACT_FIGURES
from seqrl.tasks.captioning.gallery import Captioned, write_gallery
from seqrl.tasks.captioning.images import augment
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy, sight_of, unfrozen_sight
from seqrl.tasks.captioning.policies.feature_encoder import FeatureShape
from seqrl.tasks.writing.decoded import Share, share_of
from seqrl.tasks.writing.imitated_references import ImitatedReferences, imitated_rows
from seqrl.tasks.writing.own_metrics import Reported, imported_among
from seqrl.tasks.writing.own_rewards import OwnRewardLike
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.rollouts import HINTS, Rollouts, split_named
from seqrl.tasks.writing.signatures import evaluation_signatures, reward_signature
from seqrl.trajectory import Trajectory, Tree, map_tree

_LOG = logging.getLogger(__name__)


@dataclass
class CaptioningConfig:
    """Settings of the captioning task.

    Attributes:
        data: where images and captions come from.
        policy: what writes the captions.
        reward: what a caption earns.
        evaluation: how captions are written and scored in evaluations.
        images_per_batch: distinct images of an update; a trainer draws `num_samples` captions for each.
        captions_per_image: reference captions of an image that a supervised update imitates; 0 takes all.
        flip: mirror images at random in supervised training, for which features of frozen eyes are computed of the mirrored images, too.
            Leave it off where captions say left and right.
        flip_rollouts: the same for the images that a policy captions in rollouts.
    """

    data: DataConfig = field(default_factory=DataConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    images_per_batch: Count = 16
    captions_per_image: NotNegative[int] = 0
    flip: bool = False
    flip_rollouts: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        if self.flip and self.policy.figure_detection:
            raise ValueError("flip: expected false with policy.figure_detection, which knows where metrics are only as they were drawn")

    def shortened(self, share: float) -> CaptioningConfig:
        """Give the same task with a share of the images, to measure how long an update takes."""
        return replace(self, images_per_batch=max(2, round(share * self.images_per_batch)))

    def build(self, seed: int) -> CaptioningTask:
        """Load the data and make the task; what can be refused without the data is refused before."""
        self.reward.check()
        imported_among(self.evaluation.metrics)
        self.policy.check_encoder()
        self.data.check()
        self.data.check_features(self.policy.encoder, flip=self.flip or self.flip_rollouts)
        seen = sight_of(self.policy, self.data.image_size, drawn=self.data.source == "scenes")
        return CaptioningTask(self, load_data(self.data, seen.prepare, eyes=seen.eyes, mirrored=self.flip or self.flip_rollouts), seed=seed)


class CaptioningTask:
    """Draws images, lets a policy caption them, and scores the captions against the references.

    Args:
        config: see `CaptioningConfig`.
        data: images with captions.
        seed: of the order of the images and of the flips.
        reward: a function of one's own, (captions, references) -> one number a caption, or in TRL's form (see
            `seqrl.tasks.writing.trl_form`), instead of the configured mix; several in a list, or weights by function.

    Raises:
        ValueError: when a split has a single image, over which CIDEr is always 0.
    """

    def __init__(self, config: CaptioningConfig, data: CaptionData, *, seed: int = 0, reward: OwnRewardLike | None = None) -> None:
        refuse_single_images(config.reward, data)
        detects = bool(config.policy.figure_detection)
        refuse_what_images_lack(data, detects_figures=detects, flips=config.flip or config.flip_rollouts)
        self.config = config
        self.data = data
        self.vocabulary = data.vocabulary
        self.reward = TextReward(config.reward, data.train, data.vocabulary, function=reward)
        self._rollouts = rollouts = Rollouts(len(data.train), self.reward, seed=seed)
        # What the rollouts of every task of written texts can do; see `seqrl.protocols.Task`.
        self.pop_metrics, self.share_batches, self.reward_ahead = rollouts.pop_metrics, rollouts.divide, rollouts.lag
        self.state_dict, self.load_state_dict = rollouts.state_dict, rollouts.load_state_dict
        self.reward_signature = partial(reward_signature, self.reward)
        self._built: nn.Module | None = None
        self._begin = int(data.vocabulary.begin)
        taken = {*FIGURES, *FACT_FIGURES} if data.dev.scenes is not None else FIGURES
        self._reported = Reported(METRICS, config.evaluation.metrics, self.reward, taken, refuse=refuse_string_metrics)
        self.watch, self.less_is_better = self._reported.watch, self._reported.less_is_better
        self._references = self._imitated((data.vocabulary.end,))

    searches_rows = True
    hints = HINTS | {"items": "raise task.images_per_batch"}
    warnings_for = staticmethod(warnings_for)

    @property
    def seconds_in_reward(self) -> float:
        """Time spent scoring captions so far; with `reward.ahead` the time spent waiting for it."""
        return self._rollouts.seconds_in_reward

    def build_policy(self) -> nn.Module:
        """Make the configured policy for this vocabulary; what it imitates from then on ends where its own rows would."""
        shape = FeatureShape.of(self.data.train.images)
        policy = build_policy(self.config.policy, self.vocabulary, self.config.data.image_size, features=shape)
        vars(policy)["hints"] = self.hints
        adapter: Any = getattr(policy, "adapter", None)  # of a pretrained model, which then leaves these steps out
        if adapter is not None and self.data.prepared:
            adapter.prepared = True
        self._begin = int(getattr(policy, "begin", self._begin))  # a pretrained model's own, or the last token of its prompt
        self._built = policy if self.config.policy.type == "pretrained" and self.data.seen_by else None
        follows = getattr(adapter, "follows", ("", ""))
        if set(end_tokens(policy)) != set(self._references.ends) or any(follows):
            self._references = self._imitated(end_tokens(policy), *follows)
        return policy

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        """Caption the next images; the trainer's settings are those of `seqrl.tasks.writing.rollouts.Rollouts.write`."""
        return self._rollouts.write(policy, self._next_images, self._references, **settings)

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give reference captions of the next images, or of the training images that `group` numbers."""
        augmented = group is None and self.config.flip
        items = self._rollouts.next_items(self.config.images_per_batch) if group is None else self._rollouts.around(group.cpu())
        tokens, index = self._references.chosen(items, self.config.captions_per_image, self._rollouts.generator)
        images = self._augmented(items) if augmented else self._images(items)
        context: dict[str, Any] = {"image": map_tree(lambda leaf: leaf.index_select(0, index), images)}
        # Beside samples, whose rows have none, there is nothing to detect.
        if group is None and self.config.policy.figure_detection and self.data.train.figures is not None:
            context["figures"] = torch.from_numpy(self.data.train.figures[items.numpy()])[index]
        shown = imitated_rows(tokens, context, items[index], begin=self._begin, pad=self.vocabulary.pad)
        return self._rollouts.own_rows(shown, group)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Caption the images of a split and score them with every metric, one's own among them; see `score_captions`."""
        return self.evaluation_metrics([self.evaluation_share(policy, split=split)], split=split)

    def evaluation_share(self, policy: nn.Module, *, split: str, part: int = 0, parts: int = 1) -> Share:
        """Caption one process's share of the images."""
        config = self.config.evaluation
        which: Any = {"most": config.max_images, "size": config.images_per_batch, "part": part, "parts": parts}
        return share_of(policy, self._split(split), self.vocabulary, config.beam, **which)

    def evaluation_metrics(self, shares: Sequence[Share], *, split: str) -> dict[str, float]:
        """Score the captions of all processes."""
        part = self._split(split)
        score = partial(score_captions, split=part, metrics=self._reported.metrics)
        return self._reported.values(shares, part, self.config.evaluation.images_per_batch, score)

    def sample(
        self, policy: nn.Module, directory: Path, *, count: int = 8, split: str = "dev", before: nn.Module | None = None
    ) -> list[Path]:
        """Write a gallery (PNG and HTML) of images with their captions and scores, those of the policy `before` training among them."""
        part = self._split(split)
        writers = {"caption": policy} if before is None else {"before": before, "after": policy}
        columns: dict[str, list[Captioned]] = {}
        for label, writer in writers.items():
            found = write_captions(writer, part, self.vocabulary, self.config.evaluation, count=count)
            columns[label] = [Captioned(caption, score) for caption, score in zip(*found, strict=True)]
        return write_gallery(part, columns, directory)

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: vocabulary, document frequencies and frozen eyes."""
        known = {"vocabulary": self.vocabulary.fingerprint(), "document_frequency": self.reward.fingerprint()}
        known["eyes"] = self.data.seen_by if self.config.policy.has_eyes else ""
        return {name: key for name, key in known.items() if key}

    def evaluation_signatures(self, split: str, *, version: str) -> dict[str, str]:
        """Say how the metrics of an evaluation are computed."""
        config, tok, references = self.config.evaluation, self.vocabulary.tokenisation.name, self._split(split).references
        return evaluation_signatures(
            {name: name for name in self._reported.metrics},
            references[: config.max_images or None],
            config.beam,
            tok=tok,
            version=version,
            functions={metric: own.name for metric, own in self._reported.own.items()},
            df=split,
            text=tok,
        )

    def _keep_to_own_encoder(self) -> None:
        """Give up the hidden states of the encoder at `policy.path` where the policy has another one, which a run before has trained."""
        policy: Any = self._built
        self._built = None
        if policy is None:
            return
        from seqrl.tasks.writing.pretrained.hub import hash_of

        if hash_of(policy.adapter.encoder.state_dict()) in self.data.seen_by:
            return
        path, drawn = self.config.policy.path, self.config.data.source == "scenes"
        _LOG.warning(
            "the encoder's weights are not those of %s: images are encoded anew each time; save the model and name it as path", path
        )
        self.data = load_data(self.config.data, unfrozen_sight(self.config.policy, drawn=drawn).prepare)
        policy.adapter.prepared = self.data.prepared

    def _split(self, name: str) -> Any:
        self._keep_to_own_encoder()
        return split_named(name, {"train": self.data.train, "dev": self.data.dev, "test": self.data.test}, "images")

    def _next_images(self) -> tuple[Tensor, Tree]:
        items = self._rollouts.next_items(self.config.images_per_batch)
        return items, self._mirrored(items) if self.config.flip_rollouts else self._images(items)

    def _images(self, items: Tensor) -> Any:
        self._keep_to_own_encoder()
        return self.data.train.rows(items.numpy())

    def _augmented(self, items: Tensor) -> Tree:
        """Give images of which about half are mirrored, and moved by some pixels where they are pictures."""
        if self.data.train.mirrored is not None:
            return self._mirrored(items)
        return augment(self._images(items), self._rollouts.generator, flip=True)

    def _mirrored(self, items: Tensor) -> Tree:
        """Give images of which about half are mirrored, or their features."""
        images, features = self._images(items), self.data.train.mirrored
        swapped = torch.rand(len(items), generator=self._rollouts.generator) < 0.5
        images[swapped] = images[swapped].flip(3) if features is None else rows_of(features, items[swapped].numpy())
        return images

    def _imitated(self, ends: Sequence[int], after: str = "", gap: str = "") -> ImitatedReferences:
        vocabulary: Any = self.vocabulary
        encode = partial(vocabulary.encode, after=after, gap=gap) if (after or gap) and hasattr(vocabulary, "tokenizer") else None
        return ImitatedReferences(self.data.train, self.vocabulary, self.config.policy.max_tokens, ends, encode=encode)


def refuse_single_images(reward: RewardConfig, data: CaptionData) -> None:
    """Refuse a split whose CIDEr is always 0.

    Raises:
        ValueError: naming the split.
    """
    wanted = [("dev", data.dev)]
    if not reward.named and not reward.document_frequency and any(map(reads_document_frequency, reward.metrics)):
        wanted.append(("train", data.train))
    for name, split in wanted:
        if len(split) < 2:
            raise ValueError(
                f"{name}: expected at least 2 images, got {len(split)}; CIDEr weighs words by how few images' captions hold them, "
                "and over a single image every score is 0. Add images"
                + (", or set reward.document_frequency to a corpus's or reward.metrics to others" if name == "train" else "")
            )


def refuse_what_images_lack(data: CaptionData, *, detects_figures: bool, flips: bool) -> None:
    """Refuse settings that need more than the images of this data set have.

    Raises:
        ValueError: naming the setting.
    """
    if detects_figures and data.train.figures is None:
        raise ValueError("policy.figure_detection: expected drawn scenes, got images without known figures; set it to 0")
    if flips and FeatureShape.of(data.train.images) is not None and data.train.mirrored is None:
        raise ValueError("flip: expected the features of the mirrored images, too, got none; call load_data(..., mirrored=True)")
