"""Image files to arrays: how they are decoded once and cached, and how training varies them."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from seqrl.tasks.captioning.cache import content_key, load_rows
from seqrl.tasks.captioning.image_stores import ImageStore
from seqrl.tasks.image_bytes import decode_picture

_LOG = logging.getLogger(__name__)
_DECODER_VERSION = 2
_NUM_WORKERS = 2
Item = TypeVar("Item")


class Prepare(Protocol):
    """Makes what is stored of a photograph.

    Attributes:
        key: a text that changes when what it makes does.
        shape: of what it makes.
    """

    key: str
    shape: tuple[int, ...]

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Give uint8 of that shape for an RGB picture of any size."""


def decode_image(data: bytes, image_size: int) -> np.ndarray:
    """Decode an image, crop its centre square and resize that.

    Args:
        data: any format that Pillow reads, see `seqrl.tasks.image_bytes`.
        image_size: S, pixels.

    Returns:
        uint8 [3, S, S].

    Raises:
        ValueError: when it does not decode.
    """
    picture = decode_picture(data, "RGB", draft_size=2 * image_size)
    return centre_square(picture, image_size)


def centre_square(picture: Image.Image, image_size: int) -> np.ndarray:
    """Crop the centre square of an RGB picture and resize it to uint8 [3, S, S]."""
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    if picture.size != (image_size, image_size):
        box = (left, top, left + side, top + side)
        picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def load_images(
    store: ImageStore, names: Sequence[str], image_size: int, *, skip_broken: bool = False, prepare: Prepare | None = None
) -> tuple[np.ndarray, list[bool]]:
    """Decode images once, and map them from the cache afterwards.

    The cache entry depends on the names, the files' identity and the size. Where the cache folder cannot be written, the
    images are kept in memory.

    Args:
        store: where the images are; holds every name.
        names: N names.
        image_size: S, pixels.
        skip_broken: leave out images that do not decode instead of stopping at the first.
        prepare: makes what is stored instead of the centre square of S pixels.

    Returns:
        images: uint8 [M, 3, S, S] or [M, *prepare.shape], read-only where mapped; M < N where broken images were left out.
        kept: N entries, False for an image that was left out.

    Raises:
        ValueError: when an image does not decode.
        OSError: when the cache's disk lacks the space.
    """
    shape = (3, image_size, image_size) if prepare is None else prepare.shape
    made = image_size if prepare is None else prepare.key
    key = content_key("images", _DECODER_VERSION, store.identity(names), list(names), made, skip_broken)

    def decode(data: bytes) -> np.ndarray:
        return decode_image(data, image_size) if prepare is None else prepare(decode_picture(data, "RGB"))

    def make() -> Iterator[np.ndarray | None]:
        _LOG.info("decoding %d images to %dx%d; this happens once", len(names), *shape[1:])
        return decoded(store, names, decode, skip_broken=skip_broken, doing="decoding")

    return load_rows("images", key, names, make, shape)


def with_bar(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """Give the items, with a bar on a terminal while they last."""
    return track(items, description=doing, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def augment(images: Tensor, generator: torch.Generator, *, max_shift: int = 4, flip: bool = False) -> Tensor:
    """Move each image by a random whole number of pixels and perhaps mirror it.

    Args:
        images: uint8 [N, 3, S, S].
        generator: on the CPU; draws shifts and flips.
        max_shift: largest shift in pixels along either axis; border pixels are repeated.
        flip: mirror half of the images, which is wrong where captions say left or right.

    Returns:
        uint8 [N, 3, S, S].
    """
    N, _, height, width = images.shape
    rows, columns = torch.arange(height), torch.arange(width)
    shift = torch.randint(-max_shift, max_shift + 1, (2, N, 1), generator=generator)
    rows, columns = (rows + shift[0]).clamp(0, height - 1), (columns + shift[1]).clamp(0, width - 1)
    if flip:
        mirrored = torch.rand(N, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    index = torch.arange(N).view(N, 1, 1)
    device = images.device
    moved = images.permute(0, 2, 3, 1)[index.to(device), rows.unsqueeze(2).to(device), columns.unsqueeze(1).to(device)]
    return moved.permute(0, 3, 1, 2).contiguous()


def decoded(
    store: ImageStore, names: Sequence[str], decode: Callable[[bytes], np.ndarray], *, skip_broken: bool, doing: str
) -> Iterator[np.ndarray | None]:
    """Decode in the order of the names, a few ahead of what is asked for, with a progress bar.

    Args:
        store: where the images are.
        names: of the images.
        decode: makes an array of an encoded image, or raises a ValueError that says why not.
        skip_broken: give None for an image that does not decode instead of stopping.
        doing: what the progress bar says is done with the images.

    Raises:
        ValueError: naming an image that does not decode.
    """
    # Pillow gives up the interpreter lock while it decodes, so threads are enough, and they start anywhere.
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        pending: deque[tuple[str, Future[np.ndarray]]] = deque()

        def result() -> np.ndarray | None:
            name, future = pending.popleft()
            try:
                return future.result()
            except ValueError as error:
                if not skip_broken:
                    message = f"{store.describe(name)}: expected an image, but {error}; repair it or set skip_broken_images: true"
                    raise ValueError(message) from error
                _LOG.warning("left out %s: %s", store.describe(name), error)
                return None

        try:
            for name in with_bar(names, f"{doing} {len(names)} images"):
                pending.append((name, pool.submit(lambda name: decode(store.read(name)), name)))
                if len(pending) > 8 * _NUM_WORKERS:
                    yield result()
            while pending:
                yield result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
