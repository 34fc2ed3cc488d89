"""Pretrained eyes: encoders that have seen the world, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from seqrl.run.registry import nearest
from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES
from seqrl.tasks.captioning.eyes.encoder import Eyes

__all__ = ["CROPS", "ENCODERS", "Eyes", "check_crop", "check_eyes", "check_name", "is_eyes", "open_eyes", "trainable_encoder"]

# What `task.policy.encoder` may name besides pretrained ones: those that start from nothing, and features of one's own.
ENCODERS = ("scenes", "photographs", "patches", "features")

# How much of a photograph EfficientNet-Lite sees; models of transformers have image processors that say so.
CROPS = ("published", "whole")


def is_eyes(name: str) -> bool:
    """Tell whether `task.policy.encoder` names a pretrained encoder, not one of those that start from nothing or features of one's own."""
    return name not in ENCODERS and ":" not in name


def check_name(name: str) -> None:
    """Refuse what can name no encoder, neither ours nor a pretrained one.

    Raises:
        ValueError: with what there is.
    """
    known = (*ENCODERS, *SCALES)
    if name not in known and "/" not in name and ":" not in name and not Path(name).expanduser().is_dir():
        raise ValueError(
            f"encoder: expected one of {', '.join(known)}, or a folder or hub name (owner/model) of a vision model of transformers, "
            f"or module:function, got {name!r}; {nearest(name, known)}"
        )


def check_crop(name: str, crop: str) -> None:
    """Refuse a crop that is unknown, or that the encoder `name` does not take.

    Raises:
        ValueError: with what it takes.
    """
    if crop not in CROPS:
        raise ValueError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}; {nearest(crop, CROPS)}")
    if crop != CROPS[0] and name not in SCALES:
        raise ValueError(
            f"crop: expected {CROPS[0]} with encoder {name!r}, got {crop!r}, which is for {', '.join(SCALES)} alone; the crop of a vision "
            "model of transformers stands in its preprocessor_config.json, and the other encoders see whole pictures"
        )


def open_eyes(name: str, *, crop: str = CROPS[0]) -> Eyes:
    """Load a pretrained encoder, frozen.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2", or folder or hub name of a vision model of transformers.
        crop: one of `CROPS`.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    return Eyes(name, _encoder(name, crop, learns=False))


def trainable_encoder(name: str, *, crop: str = CROPS[0]) -> nn.Module:
    """Load a pretrained encoder that learns; statistics of its batch normalisations stay as they are.

    It maps uint8 images [N, 3, H, W] to `regions` [N, R, D] and `pooled` [N, D], and has `feature_dim`, `num_regions` and `prepare`.

    Args:
        name: as `open_eyes` takes it.
        crop: as `open_eyes` takes it.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    return _encoder(name, crop, learns=True)


def check_eyes(name: str) -> None:
    """Refuse a pretrained encoder that cannot be opened, before anything is loaded.

    Args:
        name: as `open_eyes` takes it.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it does not see pictures, or its image processor has an unknown step.
    """
    if name in SCALES:
        from seqrl.tasks.captioning.eyes.efficientnet_weights import packaged_file

        packaged_file(name)
        return
    check_name(name)
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.captioning.eyes.transformers_eyes import check_model

    check_model(name)


def _encoder(name: str, crop: str, *, learns: bool) -> Any:
    check_crop(name, crop)
    check_eyes(name)
    if name in SCALES:
        from seqrl.tasks.captioning.eyes.efficientnet_eyes import EfficientNetEncoder

        return EfficientNetEncoder(name, crop=crop, folded=not learns)
    from seqrl.tasks.captioning.eyes.transformers_eyes import TransformersEncoder

    return TransformersEncoder(name, learns=learns)
