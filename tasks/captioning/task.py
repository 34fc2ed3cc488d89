"""Captioning as a task: images in, captions out, scored as wholes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.batch_share import BatchShare
from seqrl.metrics import by_name
from seqrl.policies.tokens import end_tokens
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.captioning.checks import refuse_single_images, refuse_what_images_lack
from seqrl.tasks.captioning.data import CaptionData, DataConfig, load_data, rows_of
from seqrl.tasks.captioning.diagnostics import warnings_for
from seqrl.tasks.captioning.evaluation import FIGURES, EvaluationConfig, Share, captions_of, metrics_of, write_captions
from seqrl.tasks.captioning.evaluation import METRICS as EVALUATED
from seqrl.tasks.captioning.facts import FIGURES as FACT_FIGURES
from seqrl.tasks.captioning.gallery import Captioned, GalleryItem, write_gallery
from seqrl.tasks.captioning.images import augment
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy, sight_of, unfrozen_sight
from seqrl.tasks.captioning.policies.feature_encoder import FeatureShape
from seqrl.tasks.writing.imitated_references import ImitatedReferences
from seqrl.tasks.writing.imitated_rows import imitated_rows
from seqrl.tasks.writing.own_metrics import own_metrics
from seqrl.tasks.writing.own_rewards import OwnRewardLike
from seqrl.tasks.writing.reward import RewardConfig, TextReward
from seqrl.tasks.writing.reward_function import import_function
from seqrl.tasks.writing.rollouts import HINTS, Rollouts, split_named
from seqrl.tasks.writing.sampled import Sampled, sampled_rows
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
        for name in self.evaluation.functions:
            import_function(name, field="evaluation.metrics")
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

    def __init__(
        self,
        config: CaptioningConfig,
        data: CaptionData,
        *,
        seed: int = 0,
        reward: OwnRewardLike | None = None,
    ) -> None:
        refuse_single_images(config.reward, data)
        detects = bool(config.policy.figure_detection)
        refuse_what_images_lack(data, detects_figures=detects, flips=config.flip or config.flip_rollouts)
        self.config = config
        self.data = data
        self.vocabulary = data.vocabulary
        self.reward = TextReward(config.reward, data.train, data.vocabulary, function=reward)
        self._rollouts = Rollouts(len(data.train), self.reward, seed=seed)
        self._built: nn.Module | None = None
        self._begin = int(data.vocabulary.begin)
        rewarded = [] if reward or config.reward.named else [name for name, weight in config.reward.metrics.items() if weight]
        self._evaluation = replace(config.evaluation, metrics=[*config.evaluation.metrics, *rewarded])
        taken = {*FIGURES, *FACT_FIGURES} if data.dev.scenes is not None else FIGURES
        self._own = own_metrics(config.evaluation.functions, self.reward, config.reward.timeout_s, taken=taken)
        self._references = self._imitated((data.vocabulary.end,))

    searches_rows = True

    @property
    def seconds_in_reward(self) -> float:
        """Time spent scoring captions so far; with `reward.ahead` the time spent waiting for it."""
        return self._rollouts.seconds_in_reward

    def pop_metrics(self) -> dict[str, float]:
        """Give what functions of one's own have logged since the last call."""
        return self._rollouts.pop_metrics()

    hints = HINTS | {"items": "raise task.images_per_batch"}

    @property
    def reward_ahead(self) -> int:
        """By how many updates rows are older than the policy that learns from them."""
        return self._rollouts.lag

    def build_policy(self) -> nn.Module:
        """Make the configured policy for this vocabulary; what it imitates from then on ends where its own rows would."""
        shape = FeatureShape.of(self.data.train.images)
        policy = build_policy(self.config.policy, self.vocabulary, self.config.data.image_size, features=shape)
        vars(policy)["hints"] = self.hints
        if self.data.prepared:
            policy.adapter.prepared = True  # type: ignore[union-attr]
        self._begin = int(getattr(policy, "begin", self._begin))  # a pretrained model's own, or the last token of its prompt
        self._built = policy if self.config.policy.type == "pretrained" and self.data.seen_by else None
        follows = getattr(getattr(policy, "adapter", None), "follows", ("", ""))
        if set(end_tokens(policy)) != set(self._references.ends) or any(follows):
            self._references = self._imitated(end_tokens(policy), *follows)
        return policy

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
        beam: bool = False,
    ) -> Trajectory:
        """Caption the next images; see `seqrl.protocols.Task`. With `reward.ahead` the captions are those that the last call sampled."""
        draw = partial(self._sampled, policy, num_samples, greedy, greedy_baseline, num_forced_steps, generator, beam)
        return self._rollouts.rewarded(draw, num_samples=num_samples, greedy=greedy, greedy_baseline=greedy_baseline)

    def _sampled(
        self,
        policy: nn.Module,
        num_samples: int,
        greedy: bool,
        greedy_baseline: bool,
        num_forced_steps: int,
        generator: torch.Generator | None,
        beam: bool,
    ) -> Sampled:
        """Caption the next images, without rewards."""
        items = self._rollouts.next_items(self.config.images_per_batch)
        context = self._context(items, policy)
        forced = self._references.beginnings(items, num_forced_steps, self._rollouts.generator) if num_forced_steps else None
        own: Any = self._rollouts.own
        return sampled_rows(
            policy,
            own(context),
            own(items),
            end=self.vocabulary.end,
            num_samples=num_samples,
            greedy=greedy,
            greedy_baseline=greedy_baseline,
            forced=own(forced),
            generator=generator,
            beam=beam,
        )

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give reference captions of the next images, or of the training images that `group` numbers."""
        augmented = group is None and self.config.flip
        items = self._rollouts.next_items(self.config.images_per_batch) if group is None else self._rollouts.around(group.cpu())
        rows, tokens = [], []
        for row, item in enumerate(items.tolist()):
            chosen = self._references.choose(item, self.config.captions_per_image, self._rollouts.generator)
            tokens += chosen
            rows += [row] * len(chosen)
        images = self._augmented(items) if augmented else self._images(items)
        index = torch.tensor(rows)
        context: dict[str, Any] = {"image": map_tree(lambda leaf: leaf.index_select(0, index), images)}
        # Beside samples, whose rows have none, there is nothing to detect.
        if group is None and self.config.policy.figure_detection and self.data.train.figures is not None:
            context["figures"] = torch.from_numpy(self.data.train.figures[items.numpy()])[index]
        shown = imitated_rows(tokens, context, items[index], begin=self._begin, pad=self.vocabulary.pad)
        return self._rollouts.own_rows(shown, group)

    def share_batches(self, share: BatchShare) -> None:
        """Divide each batch with other processes from now on."""
        self._rollouts.divide(share)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Caption the images of a split and score them with every metric, one's own among them; see `metrics_of`."""
        return self.evaluation_metrics([self.evaluation_share(policy, split=split)], split=split)

    def evaluation_share(self, policy: nn.Module, *, split: str, part: int = 0, parts: int = 1) -> Share:
        """Caption one process's share of the images."""
        return captions_of(policy, self._split(split), self.vocabulary, self._evaluation, part, parts)

    def evaluation_metrics(self, shares: Sequence[Share], *, split: str) -> dict[str, float]:
        """Score the captions of all processes."""
        functions = {metric: own.score for metric, own in self._own.items()}
        return metrics_of(shares, self._split(split), self.vocabulary, self._evaluation, functions)

    def watch(self, metric: str) -> None:
        """Report a metric in evaluations from now on; names of other metrics change nothing."""
        name = metric.removeprefix("beam/")
        if name in by_name.METRICS:
            self._evaluation = replace(self._evaluation, metrics=[*self._evaluation.metrics, name])

    def less_is_better(self, metric: str) -> bool:
        """Tell whether the smallest value of a metric of evaluations is the best."""
        name = metric.removeprefix("beam/")
        return name in by_name.METRICS and not by_name.higher_is_better(name)

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
        items = [
            GalleryItem(part.image_ids[index], part.picture(index), dict(zip(columns, captions, strict=True)), part.references[index])
            for index, captions in enumerate(zip(*columns.values(), strict=True))
        ]
        return write_gallery(items, directory)

    def warnings_for(self, evaluations: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Find the known troubles in the metrics of all evaluations so far; see `seqrl.tasks.captioning.diagnostics`."""
        return warnings_for(evaluations)

    def fingerprint(self) -> dict[str, str]:
        """Name what the weights depend on beside the configuration: vocabulary, document frequencies and frozen eyes."""
        frequency = self.reward.fingerprint()
        known = {"document_frequency": frequency, "eyes": self.data.seen_by if self.config.policy.has_eyes else ""}
        return {"vocabulary": self.vocabulary.fingerprint()} | {name: key for name, key in known.items() if key}

    def reward_signature(self, trainer: Mapping[str, object], *, version: str) -> str:
        """Say how captions are rewarded, see `seqrl.metrics.signature`."""
        return reward_signature(self.reward, trainer, version)

    def evaluation_signatures(self, split: str, *, version: str) -> dict[str, str]:
        """Say how the metrics of an evaluation are computed."""
        config, tok, references = self._evaluation, self.vocabulary.tokenisation.name, self._split(split).references
        beam = {"beam": config.beam_size, "alpha": config.length_penalty} if config.beam_size > 1 else {}
        beam |= {"temperature": config.temperature} if beam and config.temperature is not None else {}
        return evaluation_signatures(
            {name: name for name in [*EVALUATED, *config.registered]},
            references[: config.max_images or None],
            beam,
            tok=tok,
            version=version,
            functions={metric: own.name for metric, own in self._own.items()},
            df=split,
            text=tok,
        )

    def state_dict(self) -> dict[str, Any]:
        """Give the position in the data and the state of the flips."""
        return self._rollouts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._rollouts.load_state_dict(state)

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

    def _context(self, items: Tensor, policy: nn.Module) -> Tree:
        device = next(policy.parameters()).device
        images = self._mirrored(items) if self.config.flip_rollouts else self._images(items)
        return {"image": map_tree(lambda leaf: leaf.to(device), images)}

    def _images(self, items: Tensor) -> Any:
        self._keep_to_own_encoder()
        return rows_of(self.data.train.images, items.numpy())

    def _augmented(self, items: Tensor) -> Tree:
        """Give images of which about half are mirrored, and moved by some pixels where they are pictures."""
        return (
            augment(self._images(items), self._rollouts.generator, flip=True) if self.data.train.mirrored is None else self._mirrored(items)
        )

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
