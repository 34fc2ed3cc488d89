"""From stored images to what a pretrained encoder sees: the model's own image processor, with every step that it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

# What a processor may give beside the pixels, where it says of all of them that they count.
_MASKS = ("pixel_mask", "pixel_attention_mask")


def processed_pixels(images: Tensor, processor: Any) -> Tensor:
    """Let an image processor of transformers make an encoder's input: resizing, cropping, rescaling and whatever else it does.

    Args:
        images: uint8 [N, 3, H, W].
        processor: as `AutoImageProcessor` gives it.

    Returns:
        [N, 3, H', W'] float32, where the images are.

    Raises:
        ValueError: when the images have another form, or the processor gives more than one picture of this form for each.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected uint8 [N, 3, S, S], got {images.dtype} {list(images.shape)}")
    given = processor(list(images.cpu().numpy()), input_data_format="channels_first", return_tensors="np")
    pixels, name = np.asarray(given["pixel_values"]), type(processor).__name__
    others = [key for key in given if key != "pixel_values" and not (key in _MASKS and np.asarray(given[key]).all())]
    if pixels.ndim != 4 or pixels.shape[:2] != (len(images), 3) or others:
        rest = f", and {', '.join(others)}" if others else ""
        raise ValueError(
            f"image processor {name}: expected one picture [3, H, W] for each image, got {list(pixels.shape)} for {len(images)}{rest}; "
            "choose a model whose encoder sees the whole image as one picture"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(images.device)


def check_processor(processor: Any) -> None:
    """Run a processor once, so that what cannot be used is refused before any long work.

    Raises:
        ValueError: naming the processor and what does not fit.
    """
    try:
        processed_pixels(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), processor)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"image processor {type(processor).__name__}: it does not take a plain image ({error}); choose another model"
        ) from error
