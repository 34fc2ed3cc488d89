"""EfficientNet-Lite as an encoder of pictures: how a photograph is cut and scaled for it, and what it gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from seqrl.tasks.captioning.eyes.efficientnet_lite import HEAD_WIDTH, SCALES, EfficientNetLite
from seqrl.tasks.captioning.eyes.efficientnet_weights import load_weights
from seqrl.tasks.captioning.eyes.encoder import check_images, encoded, freeze_statistics

_CROP_PADDING = 32
_MEAN, _DEVIATION = 127.0, 128.0


class CentreCrop:
    """Cuts the square of min(H, W) S / (S + 32) pixels out of a picture's centre and resizes it to S x S, bicubic.

    Source: `preprocessing.py` of tensorflow/tpu's EfficientNet, with the crop padding 32.
    Differs from: Pillow's bicubic filter, which averages where it makes smaller; TensorFlow's does not.

    Args:
        size: S, pixels.
    """

    def __init__(self, size: int) -> None:
        self.shape: tuple[int, ...] = (3, size, size)
        self.key = json.dumps({"crop_padding": _CROP_PADDING, "resample": "bicubic", "size": size, "version": 1})

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Prepare an RGB picture of any size: uint8 [3, S, S]."""
        size = self.shape[1]
        side = max(1, int(size / (size + _CROP_PADDING) * min(picture.size)))
        left, top = ((length - side + 1) // 2 for length in picture.size)
        cut = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(cut).transpose(2, 0, 1))


class EfficientNetEncoder(nn.Module):
    """Encodes uint8 images [N, 3, S, S], as `prepare` makes them, by the grid after EfficientNet-Lite's head.

    The grid has ceil(S / 32)^2 places; its 1,280 channels are what the classifier saw the mean of, so that they name things better than
    the 320 before the head. Pixels are scaled by (x - 127) / 128.

    Source: `efficientnet_lite_builder.py` of tensorflow/tpu, for the scaling; docs/log.md measures it.

    Args:
        name: one of `SCALES`.
        folded: normalisations are part of the convolutions: about a quarter faster, and within 1e-5 of the greatest value. Such a network
            does not learn.

    Raises:
        ModuleNotFoundError: when the weights are not installed.
        ValueError: when they are damaged.
    """

    def __init__(self, name: str, *, folded: bool = False) -> None:
        super().__init__()
        scale = SCALES[name]
        tensors, digest = load_weights(name)
        with torch.device("meta"):
            network: Any = EfficientNetLite(scale)
        network.load_state_dict({key: tensor for key, tensor in tensors.items() if not key.startswith("classifier.")}, assign=True)
        self.network = (network.fold() if folded else network).to(memory_format=torch.channels_last)
        self.prepare = CentreCrop(scale.image_size)
        self.feature_dim = HEAD_WIDTH
        self.num_regions = (-(-scale.image_size // 32)) ** 2
        self.key = json.dumps([name, digest, "grid after the head, (x - 127) / 128, version 1"])
        freeze_statistics(self)

    def train(self, mode: bool = True) -> EfficientNetEncoder:
        """Set the mode of all but the normalisations, whose statistics stay ImageNet's."""
        return freeze_statistics(super().train(mode))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode uint8 images [N, 3, S, S] as `regions` [N, R, D] and `pooled` [N, D]."""
        check_images(images, self.prepare.shape)
        return encoded(self.network(scaled(images)))


def scaled(images: Tensor) -> Tensor:
    """Map uint8 values to what EfficientNet-Lite was trained on: (x - 127) / 128, in channels-last memory."""
    return images.float().sub_(_MEAN).div_(_DEVIATION).contiguous(memory_format=torch.channels_last)
