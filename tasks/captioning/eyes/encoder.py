"""What every pretrained encoder of pictures shares: what comes in, what goes out, and what stays as it was."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

_M = TypeVar("_M", bound=nn.Module)


def encoded(features: Tensor) -> dict[str, Tensor]:
    """Give features [N, R, D], or a grid [N, D, H, W], as `regions` [N, R, D] and their mean, `pooled` [N, D].

    Raises:
        ValueError: when they have another form.
    """
    if features.ndim not in (3, 4):
        raise ValueError(f"features: expected [N, R, D] or [N, D, H, W], got {list(features.shape)}")
    regions = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
    return {"regions": regions, "pooled": regions.mean(dim=1)}


def check_images(images: Tensor, shape: tuple[int, ...]) -> None:
    """Check what an encoder is given.

    Args:
        images: to be uint8 [N, *shape].
        shape: of a prepared picture.

    Raises:
        ValueError: when they have another form.
    """
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"images: expected uint8 [N, {', '.join(map(str, shape))}], as the encoder's `prepare` makes them, got {images.dtype} "
            f"{list(images.shape)}"
        )


def freeze_statistics(module: _M) -> _M:
    """Put batch normalisations into evaluation mode: their statistics stay those of the data that the encoder was trained on."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    return module
