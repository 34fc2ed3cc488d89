"""Pretrained eyes: encoders that have seen the world, by name."""

from __future__ import annotations

from torch import nn

from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES
from seqrl.tasks.captioning.eyes.encoder import Eyes

__all__ = ["Eyes", "check_eyes", "is_eyes", "open_eyes", "trainable_encoder"]

_OURS = ("scenes", "photographs", "patches", "features")


def is_eyes(name: str) -> bool:
    """Tell whether `task.policy.encoder` names a pretrained encoder, not one of those that start from nothing or features of one's own."""
    return name not in _OURS


def open_eyes(name: str) -> Eyes:
    """Load a pretrained encoder, frozen.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2".

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    from seqrl.tasks.captioning.eyes.efficientnet_eyes import EfficientNetEncoder

    check_eyes(name)
    return Eyes(name, EfficientNetEncoder(name, folded=True))


def trainable_encoder(name: str) -> nn.Module:
    """Load a pretrained encoder that learns; statistics of its batch normalisations stay as they are.

    It maps uint8 images [N, 3, H, W] to `regions` [N, R, D] and `pooled` [N, D], and has `feature_dim`, `num_regions` and `prepare`.

    Args:
        name: as `open_eyes` takes it.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    from seqrl.tasks.captioning.eyes.efficientnet_eyes import EfficientNetEncoder

    check_eyes(name)
    return EfficientNetEncoder(name)


def check_eyes(name: str) -> None:
    """Refuse a pretrained encoder that cannot be opened, before anything is loaded.

    Args:
        name: as `open_eyes` takes it.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        ValueError: when there is nothing of that name.
    """
    from seqrl.tasks.captioning.eyes.efficientnet_weights import packaged_file

    if name not in SCALES:
        raise ValueError(f"encoder: expected one of {', '.join(SCALES)}, got {name!r}")
    packaged_file(name)
