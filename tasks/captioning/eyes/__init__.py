"""Pretrained eyes: encoders that have seen the world, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqrl.run.registry import nearest
from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES
from seqrl.tasks.captioning.features import Eyes

__all__ = ["ENCODERS", "Eyes", "check_eyes", "check_name", "is_eyes", "open_eyes", "load_encoder"]

# What `task.policy.encoder` may name besides pretrained ones: those that start from nothing, and features of one's own.
ENCODERS = ("scenes", "photographs", "patches", "features")


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


def open_eyes(name: str) -> Eyes:
    """Load a pretrained encoder, frozen.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2", or folder or hub name of a vision model of transformers.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    encoder = load_encoder(name, learns=False).eval().requires_grad_(False)
    key = f"{encoder.key} {encoder.prepare.key}"
    return Eyes(name, key, encoder.num_regions, encoder.feature_dim, encoder.prepare, lambda images: encoder(images)["regions"])


def load_encoder(name: str, *, learns: bool = True) -> Any:
    """Load a pretrained encoder; statistics of its batch normalisations stay as they are.

    It maps uint8 images [N, 3, H, W] to `regions` [N, R, D] and `pooled` [N, D], and has `feature_dim`, `num_regions` and `prepare`.

    Args:
        name: as `open_eyes` takes it.
        learns: False for one that is only looked through, which may be faster.

    Raises:
        ModuleNotFoundError: when its weights are not installed; the message holds what to type.
        FileNotFoundError: when there is nothing of that name.
        ValueError: when it cannot serve, or is damaged.
    """
    check_eyes(name)
    if name in SCALES:
        from seqrl.tasks.captioning.eyes.efficientnet_eyes import EfficientNetEncoder

        return EfficientNetEncoder(name, folded=not learns)
    from seqrl.tasks.captioning.eyes.transformers_eyes import TransformersEncoder

    return TransformersEncoder(name, learns=learns)


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
