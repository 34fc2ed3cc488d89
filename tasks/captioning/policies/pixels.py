"""From stored images to what a pretrained encoder sees: the model's own image processor, with every step that it has."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Steps that move pixels, which can be done once, and steps that change numbers.
_MOVES: tuple[str, ...] = (
    *("do_resize", "do_center_crop", "do_pad", "do_crop_margin", "do_thumbnail", "do_align_long_axis"),
    *("do_convert_rgb", "do_flip_channel_order"),
)
_CHANGES = ("do_rescale", "do_normalize", "include_top")  # the last is EfficientNet's second normalisation
# Set by some processors, and without effect on a picture: a segmentation's labels.
_WITHOUT_EFFECT = ("do_reduce_labels",)
# Steps that cut a picture into a number of tiles that depends on its form, and so give images different numbers of tokens.
_SPLITS = ("do_image_splitting", "do_pan_and_scan")
# What a processor may give beside the pixels, where it says of all of them that they count.
_MASKS = ("pixel_mask", "pixel_attention_mask")

# Beyond all that encoders see; a processor that asks for more, or a strip of a picture made as high as it, would fill the memory.
_LONGEST_SIDE = 4096
_MOST_TIMES_LONGER = 100


def processed_pixels(images: Tensor, processor: Any, *, prepared: bool = False) -> Tensor:
    """Let an image processor of transformers make an encoder's input: resizing, cropping, rescaling and whatever else it does.

    Args:
        images: uint8 [N, 3, H, W].
        processor: as `AutoImageProcessor` gives it.
        prepared: whether the steps that move pixels have been done before, see `Preparation`.

    Returns:
        [N, 3, H', W'] float32, where the images are.

    Raises:
        ValueError: when the images have another form, or the processor gives more than one picture of this form for each.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected uint8 [N, 3, S, S], got {images.dtype} {list(images.shape)}")
    changes = _without(processor, _MOVES) if prepared else {}
    given = processor(list(images.cpu().numpy()), input_data_format="channels_first", return_tensors="np", **changes)
    pixels, name = _one_picture(np.asarray(given["pixel_values"]), len(images)), type(processor).__name__
    others = [key for key in given if key != "pixel_values" and not (key in _MASKS and np.asarray(given[key]).all())]
    if pixels.ndim != 4 or pixels.shape[:2] != (len(images), 3) or others:
        rest = f", and {', '.join(others)}" if others else ""
        raise ValueError(
            f"image processor {name}: expected one picture [3, H, W] for each image, got {list(pixels.shape)} for {len(images)}{rest}; "
            "choose a model whose encoder sees the whole image as one picture"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(images.device)


def _one_picture(pixels: np.ndarray, count: int = 1) -> np.ndarray:
    """Give the pictures [N, 3, H, W] of N images; some processors take these for N pictures of one text, [1, N, 3, H, W]."""
    return pixels[0] if pixels.ndim == 5 and pixels.shape[:2] == (1, count) else pixels


class Preparation:
    """The steps of an image processor that move pixels, done once on the photograph itself: what is stored are whole grey levels.

    `processed_pixels(..., prepared=True)` does the rest, with the result that the processor has in one go.

    Args:
        processor: as `AutoImageProcessor` gives it.

    Raises:
        ValueError: when the processor's steps cannot be parted like that, or its pictures differ in size.
    """

    def __init__(self, processor: Any) -> None:
        self._processor, name = processor, type(processor).__name__
        shapes, draws = set(), np.random.default_rng(0)
        for height, width in ((70, 90), (90, 60)):
            picture = Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8))
            stored = self(picture)
            shapes.add(stored.shape)
            whole = _one_picture(np.asarray(processor(picture, return_tensors="np")["pixel_values"]))
            parted = processed_pixels(torch.from_numpy(stored).unsqueeze(0), processor, prepared=True).numpy()
            if whole.shape != parted.shape or not np.abs(whole - parted).max() < 1e-5:
                raise ValueError(f"image processor {name}: expected steps that move pixels before those that change numbers")
        if len(shapes) > 1:
            raise ValueError(f"image processor {name}: expected pictures of one size, got {sorted(shapes)}")
        self.shape = shapes.pop()
        self.key = json.dumps([name, processor.to_dict()], sort_keys=True, default=str)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Prepare an RGB picture of any size: uint8 [3, H, W]."""
        if max(picture.size) > _MOST_TIMES_LONGER * min(picture.size):
            raise ValueError(
                f"one of {picture.width} x {picture.height} pixels came, of which at most {_MOST_TIMES_LONGER} times as long as high, "
                "or as high as long, are resized"
            )
        given = self._processor(picture, return_tensors="np", **_without(self._processor, _CHANGES))
        pixels = _one_picture(np.asarray(given["pixel_values"]))[0]
        levels = np.rint(pixels)
        if pixels.ndim != 3 or len(pixels) != 3 or np.abs(levels - pixels).max() > 1e-3 or levels.min() < 0 or levels.max() > 255:
            raise ValueError(
                f"image processor {type(self._processor).__name__}: expected whole grey levels after the steps that move pixels"
            )
        return np.ascontiguousarray(levels, dtype=np.uint8)


def _without(processor: Any, steps: tuple[str, ...]) -> dict[str, bool]:
    return {name: False for name in steps if getattr(processor, name, None)}


def check_processor(processor: Any) -> None:
    """Run a processor once, so that what cannot be used is refused before any long work.

    Raises:
        ValueError: naming the processor and what does not fit, a step that is unknown among it.
    """
    kind, known = f"image processor {type(processor).__name__}", (*_MOVES, *_CHANGES, *_WITHOUT_EFFECT)
    splits = [name for name in _SPLITS if getattr(processor, name, None)]
    if splits:
        raise ValueError(
            f"{kind}: {splits[0]} cuts an image into tiles, of which each would have its own tokens, and images different numbers of "
            f"them; set task.policy.processor: {{{splits[0]}: false}}, with which the model sees one picture of the whole image"
        )
    unknown = sorted(name for name, value in vars(processor).items() if name.startswith("do_") and value and name not in known)
    if unknown:
        # transformers keeps a step that its processor does not know, and leaves it out.
        raise ValueError(
            f"{kind}: unknown step {', '.join(unknown)}; expected only {', '.join(name for name in known if name.startswith('do_'))}; "
            "choose another model, or mend its preprocessor_config.json"
        )
    for name, value in processor.to_dict().items():
        if not name.endswith("size") or name.startswith("do_"):
            continue
        sides = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        wrong = [side for side in sides if isinstance(side, int) and not 0 < side <= _LONGEST_SIDE]
        if wrong:
            raise ValueError(
                f"{kind}: expected 1 to {_LONGEST_SIDE} pixels as {name}, got {wrong[0]}; choose another model, or mend its "
                "preprocessor_config.json"
            )
    try:
        pixels = processed_pixels(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), processor)
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        if str(error).startswith(kind):
            raise
        raise ValueError(f"{kind}: it does not take a plain image ({error}); choose another model") from error
    if not torch.isfinite(pixels).all():
        raise ValueError(f"{kind}: expected finite numbers for a black image, got {pixels.flatten()[0]}; mend its image_std and image_mean")
