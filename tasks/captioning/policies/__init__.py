"""Captioning policies: an image encoder with one of several decoders."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from torch import nn

from tasks.captioning.policies.encoder import build_encoder
from tasks.captioning.policies.transformer import TransformerPolicy

TYPES = ("transformer",)


@dataclass
class PolicyConfig:
    """Which policy to build, and how large.

    Attributes:
        type: "transformer".
        encoder: "scenes", "photographs" or "patches".
        dim: size of the decoder's features.
        num_layers: decoder layers (transformer).
        num_heads: attention heads (transformer).
        dropout: probability of dropping an entry while training.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix, too.
        freeze_encoder: no gradients through the encoder.
        critic: also estimate values, for baselines that need them.
    """

    type: str = "transformer"
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


def build_policy(config: PolicyConfig, vocabulary: Sized, image_size: int) -> nn.Module:
    """Make the policy that a configuration names.

    Args:
        config: kind and sizes.
        vocabulary: its length and its `begin`, `end` and `pad` tokens are read.
        image_size: side of the square images, pixels.

    Raises:
        ValueError: when there is no such policy or its sizes do not fit.
    """
    if config.type not in TYPES:
        raise ValueError(f"policy.type: expected one of {', '.join(TYPES)}, got {config.type!r}")
    specials = {name: int(getattr(vocabulary, name)) for name in ("begin", "end", "pad")}
    return TransformerPolicy(
        build_encoder(config.encoder, image_size),
        len(vocabulary),
        dim=config.dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        dropout=config.dropout,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        tie_embeddings=config.tie_embeddings,
        freeze_encoder=config.freeze_encoder,
        critic=config.critic,
        **specials,
    )
