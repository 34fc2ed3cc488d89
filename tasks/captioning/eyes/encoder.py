"""What every pretrained encoder of pictures shares: what comes in, what goes out, and what stays as it was."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seqrl.tasks.captioning.images import Prepare

_M = TypeVar("_M", bound=nn.Module)


class Eyes:
    """A frozen encoder, which gives regions and no gradient.

    Args:
        name: as `open_eyes` takes it.
        encoder: a module that maps uint8 images [N, 3, H, W] to `regions` [N, R, D] and `pooled` [N, D], and has `key`, `feature_dim`,
            `num_regions` and `prepare`; it is put into evaluation mode and frozen.

    Attributes:
        name: as `open_eyes` takes it.
        key: a text that changes when weights, preprocessing or arithmetic do; the SHA-256 of the weights is part of it.
        feature_dim: D.
        num_regions: R.
        prepare: makes what is seen of a photograph: uint8 [3, H, W] of an RGB picture.
    """

    def __init__(self, name: str, encoder: Any) -> None:
        self._encoder = encoder.eval().requires_grad_(False)
        self.name = name
        self.prepare: Prepare = encoder.prepare
        self.key = f"{encoder.key} {self.prepare.key}"
        self.feature_dim: int = encoder.feature_dim
        self.num_regions: int = encoder.num_regions

    def __call__(self, images: Tensor) -> Tensor:
        """Encode uint8 images [N, 3, H, W], as `prepare` makes them, as float32 regions [N, R, D].

        The features of the mirrored photographs are those of `images.flip(3)`.
        """
        with torch.no_grad():
            return self._encoder(images)["regions"].float()


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
