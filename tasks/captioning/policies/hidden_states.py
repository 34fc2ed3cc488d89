"""The frozen encoder of a pretrained captioner, which looks at every image once: its last hidden states are what is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seqrl.tasks.captioning.features import Eyes
from seqrl.tasks.captioning.images import Prepare, centre_square
from seqrl.tasks.captioning.policies.pixels import Preparation, check_processor, processed_pixels
from seqrl.tasks.writing.pretrained.hub import hash_of

_LOG = logging.getLogger(__name__)


class Squares:
    """Cuts out the centre square of a picture and resizes it.

    Args:
        image_size: S, pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.key = f"squares of {image_size}"
        self.shape: tuple[int, ...] = (3, image_size, image_size)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Prepare an RGB picture: uint8 [3, S, S]."""
        return centre_square(picture, self.shape[1])


def prepare_for(processor: Any) -> Preparation | None:
    """Give the steps of an image processor that are done once on a photograph; None, and a warning, where they cannot be parted."""
    try:
        return Preparation(processor)
    except ValueError as error:
        _LOG.warning("%s; it is applied to squares of task.data.image_size pixels, cut out of the photographs' centres", error)
        return None


def encoder_eyes(path: str | Path, image_size: int, changes: Mapping[str, Any] | None = None) -> Eyes:
    """Make frozen eyes of the encoder of a pretrained model that writes about images; they give its last hidden states.

    Args:
        path: folder, or name on the hub.
        image_size: side of the squares that are stored where the model's image processor cannot be parted, pixels.
        changes: settings of the image processor that are to be others.

    Raises:
        FileNotFoundError: when there is no such model.
        ValueError: when it is another kind of model.
    """
    from seqrl.tasks.captioning.adapters.kinds import seeing_part
    from seqrl.tasks.captioning.policies.pretrained import load_model

    processor, model = load_model(path, changes)
    check_processor(processor)
    kind: Any = seeing_part(model)
    encoder, parted = kind.encoder.eval().requires_grad_(False), prepare_for(processor)
    prepare: Prepare = parted or Squares(image_size)
    key = f"hidden states 1 {hash_of(encoder.state_dict())} {prepare.key} {encoder.config.to_json_string()}"

    def look(images: Tensor) -> Tensor:
        return kind.see(processed_pixels(images, processor, prepared=parted is not None))  # type: ignore[no-any-return]

    with torch.no_grad():
        _, num_regions, feature_dim = look(torch.zeros(1, *prepare.shape, dtype=torch.uint8)).shape
    return Eyes(str(path), key + getattr(kind, "how_it_sees", ""), num_regions, feature_dim, prepare, look)
