"""Captioning policies: an image encoder with one of several decoders, or a pretrained model."""

from __future__ import annotations

import logging
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from seqrl.policies import check_token_settings
from seqrl.run.registry import find, nearest
from seqrl.run.trust import NAMES_CODE
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.encoder import build_encoder
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder, LSTMDecoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder
from seqrl.tasks.captioning.policies.updown import UpDownDecoder

if TYPE_CHECKING:
    from seqrl.tasks.captioning.policies.pixels import Preparation

_LOG = logging.getLogger(__name__)

__all__ = ["CaptionPolicy", "PolicyConfig", "build_policy"]

TYPES = ("transformer", "lstm", "att_lstm", "updown", "pretrained")
ENCODERS = ("scenes", "photographs", "patches")


@dataclass
class PolicyConfig:
    """Which policy to build, and how large.

    Attributes:
        type: "transformer", "lstm" (Show and Tell), "att_lstm" (soft attention), "updown" (two LSTMs) or "pretrained" (a
            VisionEncoderDecoderModel of transformers, whose sizes are its own); or `module:function` for a policy of one's own, where
            the function takes this configuration, the vocabulary and the image size.
        encoder: "scenes", "photographs" or "patches".
        dim: size of the decoder's features.
        num_layers: decoder layers (transformer, lstm).
        num_heads: attention heads (transformer).
        dropout: probability of dropping an entry while training.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix, too.
        freeze_encoder: no gradients through the encoder.
        critic: also estimate values, for baselines that need them.
        word_detection: weight of a loss that teaches the encoder which words an image's captions hold, while captions are
            imitated. 0 for none.
        figure_detection: weight of a loss that teaches the encoder shape, colour and texture of drawn figures, where they are,
            in supervised training; for the source "scenes" alone. 0 for none.
        path: folder or hub name of the pretrained model.
    """

    type: str = field(default="transformer", metadata={NAMES_CODE: ()})
    encoder: str = "scenes"
    dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.1
    max_tokens: int = 20
    temperature: float = 1.0
    tie_embeddings: bool = True
    freeze_encoder: bool = False
    critic: bool = False
    word_detection: float = 0.0
    figure_detection: float = 0.0
    path: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (("type", self.type, TYPES), ("encoder", self.encoder, ENCODERS)):
            if value not in known and not (name == "type" and ":" in value):
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}; {nearest(value, known)}")
        check_token_settings(self.max_tokens, self.temperature)


def build_policy(config: PolicyConfig, vocabulary: Sized, image_size: int) -> nn.Module:
    """Make the policy that a configuration names.

    Args:
        config: kind and sizes.
        vocabulary: its length and its `begin`, `end` and `pad` tokens are read.
        image_size: side of the square images, pixels.

    Raises:
        ValueError: when its sizes do not fit.
        FileNotFoundError: when there is no pretrained model at `path`.
    """
    if config.type == "pretrained":
        return _build_pretrained(config, vocabulary)
    if ":" in config.type:
        return find("task.policy.type", config.type)(config, vocabulary, image_size)
    encoder = build_encoder(config.encoder, image_size)
    return CaptionPolicy(
        encoder,
        _build_decoder(config, len(vocabulary), encoder.feature_dim),
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        tie_embeddings=config.tie_embeddings,
        freeze_encoder=config.freeze_encoder,
        critic=config.critic,
        word_detection=config.word_detection,
        figure_detection=config.figure_detection,
        unknown=getattr(vocabulary, "unknown", None),
        **_special_tokens(vocabulary),
    )


def preparation_of(config: PolicyConfig) -> Preparation | None:
    """Give how photographs are to be stored for a policy: None for squares, else what a pretrained model's own processor makes.

    Raises:
        FileNotFoundError: when there is no pretrained model at `path`.
    """
    if config.type != "pretrained":
        return None
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.captioning.policies.pixels import Preparation
    from seqrl.tasks.captioning.policies.pretrained import load_processor

    processor = load_processor(config.path)
    try:
        return Preparation(processor)
    except ValueError as error:
        _LOG.warning("%s; it is applied to squares of task.data.image_size pixels, cut out of the photographs' centres", error)
        return None


def _build_decoder(config: PolicyConfig, vocabulary_size: int, memory_dim: Any) -> nn.Module:
    if config.type == "lstm":
        return LSTMDecoder(vocabulary_size, memory_dim=memory_dim, dim=config.dim, num_layers=config.num_layers, dropout=config.dropout)
    if config.type == "att_lstm":
        return AttentionLSTMDecoder(vocabulary_size, memory_dim=memory_dim, dim=config.dim, dropout=config.dropout)
    if config.type == "updown":
        return UpDownDecoder(vocabulary_size, memory_dim=memory_dim, dim=config.dim, dropout=config.dropout)
    return TransformerDecoder(
        vocabulary_size,
        memory_dim=memory_dim,
        dim=config.dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        dropout=config.dropout,
        max_tokens=config.max_tokens,
    )


def _build_pretrained(config: PolicyConfig, vocabulary: Sized) -> nn.Module:
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.captioning.policies.pretrained import PretrainedPolicy

    if config.critic:
        raise ValueError("policy.critic: a pretrained model has no critic; choose a baseline that needs none, such as leave_one_out")
    policy = PretrainedPolicy.from_pretrained(
        config.path,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        freeze_encoder=config.freeze_encoder,
        unknown=getattr(vocabulary, "unknown", None),
        tokenizer=getattr(vocabulary, "tokenizer", None),
    )
    tokens = _special_tokens(vocabulary)
    if tokens["end"] in policy.ends:
        policy.end_demonstrations_with(tokens["end"])
    for name, token in tokens.items():
        if name != "pad" and token != getattr(policy, name):
            raise ValueError(
                f"vocabulary: expected the {name} token {getattr(policy, name)} of {config.path}, got {token}; "
                "make the vocabulary from this model's tokenizer"
            )
    if len(vocabulary) > policy.vocabulary_size:
        raise ValueError(
            f"vocabulary: expected at most the {policy.vocabulary_size} tokens of {config.path}, got {len(vocabulary)}; "
            "make the vocabulary from this model's tokenizer"
        )
    return policy


def _special_tokens(vocabulary: Any) -> dict[str, int]:
    return {name: int(getattr(vocabulary, name)) for name in ("begin", "end", "pad")}
