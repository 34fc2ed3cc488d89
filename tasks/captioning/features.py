"""What frozen eyes see of every image: computed once, kept as 16-bit numbers, and mapped from the cache afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from seqrl.distributed import available_cores
from seqrl.tasks.captioning.cache import content_key, load_rows
from seqrl.tasks.captioning.image_stores import ImageStore
from seqrl.tasks.captioning.images import Prepare, decoded
from seqrl.tasks.image_bytes import decode_picture

_LOG = logging.getLogger(__name__)
_FEATURES_VERSION = 1
_IMAGES_A_BATCH = 16
# Beyond it a 16-bit number is infinite.
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Eyes:
    """A frozen encoder of pictures, which gives regions and no gradient.

    The features of the mirrored photographs are those of `images.flip(3)`.

    Attributes:
        name: for messages.
        key: a text that changes when weights, preprocessing or arithmetic do; the SHA-256 of the weights is part of it.
        num_regions: R.
        feature_dim: D.
        prepare: makes of a photograph what it looks at, uint8 [3, H, W].
        look: gives regions [N, R, D] of images uint8 [N, 3, H, W].
    """

    name: str
    key: str
    num_regions: int
    feature_dim: int
    prepare: Prepare
    look: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Give the regions [N, R, D] float32 of images uint8 [N, 3, H, W], as `prepare` makes them."""
        with torch.no_grad():
            return self.look(images).float()


def load_features(
    store: ImageStore, names: Sequence[str], eyes: Eyes, *, skip_broken: bool = False, mirrored: bool = False
) -> tuple[np.ndarray, list[bool]]:
    """Let frozen eyes look at every image once, and map what they saw from the cache afterwards.

    Args:
        store: where the images are; holds every name.
        names: N names.
        eyes: what looks.
        skip_broken: leave out images that do not decode instead of stopping at the first.
        mirrored: show them the mirrored images.

    Returns:
        features: float16 [M, R, D], read-only where mapped; M < N where broken images were left out.
        kept: N entries, False for an image that was left out.

    Raises:
        ValueError: when an image does not decode, or a feature is not finite in 16 bits.
        OSError: when the cache's disk lacks the space.
    """
    key = content_key("features", _FEATURES_VERSION, eyes.key, store.identity(names), list(names), skip_broken, mirrored)

    def make() -> Iterator[np.ndarray | None]:
        whose = "mirrored images" if mirrored else "images"
        _LOG.info("computing the features of %d %s with %s; this happens once", len(names), whose, eyes.name)
        pictures = decoded(
            store,
            names,
            lambda data: eyes.prepare(decode_picture(data, "RGB")),
            skip_broken=skip_broken,
            doing=f"features of {'mirrored ' if mirrored else ''}images with {eyes.name}:",
        )
        return _seen(pictures, eyes, mirrored)

    return load_rows("features", key, names, make, (eyes.num_regions, eyes.feature_dim), np.float16)


def in_16_bits(features: np.ndarray, whose: str) -> np.ndarray:
    """Round features to 16 bits.

    Args:
        features: of any shape.
        whose: named in the message.

    Raises:
        ValueError: when one is not finite, or becomes so.
    """
    largest = float(np.abs(features).max(initial=0.0))
    if not largest <= LARGEST:
        what = "NaN" if np.isnan(largest) else f"{largest:g}"
        raise ValueError(f"{whose}: expected finite features of at most {LARGEST:g}, got {what}; scale them, or choose another encoder")
    return features.astype(np.float16)


def _seen(pictures: Iterator[np.ndarray | None], eyes: Eyes, mirrored: bool) -> Iterator[np.ndarray | None]:
    """Give the features of each picture, None where there is no picture."""
    while batch := list(islice(pictures, _IMAGES_A_BATCH)):
        whole = [picture for picture in batch if picture is not None]
        found: Iterator[np.ndarray] = iter(())
        if whole:
            images = torch.from_numpy(np.stack(whole))
            with _all_cores():
                seen = eyes(images.flip(3) if mirrored else images)
            found = iter(in_16_bits(seen.cpu().numpy(), eyes.name))
        yield from (None if picture is None else next(found) for picture in batch)


@contextmanager
def _all_cores() -> Iterator[None]:
    """Compute on all cores that this process may use: a run that is about to measure its threads has set one."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(before, available_cores(shared_out=False)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
