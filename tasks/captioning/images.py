"""Image files to arrays: where they are stored, how they are decoded once and cached, and how training varies them."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from seqrl.metrics.text_files import read_json
from seqrl.tasks.captioning.cache import RowWriter, atomic_write, cache_folder, content_key, is_writable
from seqrl.tasks.image_bytes import MOST_BYTES, decode_picture, read_encoded

_LOG = logging.getLogger(__name__)
_DECODER_VERSION = 2
_ROWS_A_WRITE = 64
_NUM_WORKERS = 2
MIN_IMAGE_SIZE = 16


class ImageStore(Protocol):
    """Encoded images by name."""

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that the store does not hold."""

    def read(self, name: str) -> bytes:
        """Give the encoded image."""

    def identity(self, names: Sequence[str]) -> str:
        """Give a text that changes when the named images do."""

    def describe(self, name: str) -> str:
        """Say where an image is, for messages."""


class FolderStore:
    """Images as files under a folder.

    Args:
        root: names are relative to it; absolute names stand for themselves.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that are no files."""
        return [name for name in names if not (self._root / name).is_file()]

    def read(self, name: str) -> bytes:
        """Give the file's bytes."""
        return read_encoded(self._root / name)

    def identity(self, names: Sequence[str]) -> str:
        """Hash the place, size and time of every file."""
        files = ((self._root / name).stat() for name in names)
        return content_key(str(self._root.resolve()), [(file.st_size, file.st_mtime_ns) for file in files])

    def describe(self, name: str) -> str:
        """Give the path."""
        return str(self._root / name)


class ZipStore:
    """Images as members of a zip file, with or without a folder inside it.

    Args:
        path: the zip file.

    Raises:
        ValueError: when it is no zip file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: expected a zip file of images, got something else ({error})") from error
        members = [name for name in self._zip.namelist() if not name.endswith("/")]
        self._members = {Path(name).name: name for name in members} | {name: name for name in members}
        seen: dict[str, str] = {}
        # Two members of one file name are told apart by their folders only.
        self._alike = {Path(name).name: (seen[Path(name).name], name) for name in members if seen.setdefault(Path(name).name, name) != name}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those names that are no members.

        Raises:
            ValueError: when a name without its folder stands for two members.
        """
        names = list(names)
        alike = next((name for name in names if name in self._alike and self._members[name] != name), None)
        if alike is not None:
            raise ValueError(f"{self._path}: {alike} could be {' or '.join(self._alike[alike])}; name images with their folder")
        return [name for name in names if name not in self._members]

    def read(self, name: str) -> bytes:
        """Give the member's bytes.

        Raises:
            ValueError: when it would unpack to more than any image has, or is damaged.
        """
        member = self._zip.getinfo(self._members[name])
        if member.file_size > MOST_BYTES:
            raise ValueError(f"it unpacks to {member.file_size} bytes, at most {MOST_BYTES} are read")
        try:
            with self._zip.open(member) as file:
                # Asked for a number of bytes, it unpacks no more, whatever the sizes in the file say.
                return file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it does not unpack ({error})") from error

    def identity(self, names: Sequence[str]) -> str:
        """Hash the zip file's place and the checksum of every member."""
        return content_key(str(self._path.resolve()), [self._zip.getinfo(self._members[name]).CRC for name in names])

    def describe(self, name: str) -> str:
        """Give the zip file and the member."""
        return f"{self._path}: {self._members.get(name, name)}"


def open_images(path: Path) -> ImageStore:
    """Open a folder or a zip file of images.

    Raises:
        FileNotFoundError: when there is neither.
    """
    if path.is_dir():
        return FolderStore(path)
    if path.is_file():
        return ZipStore(path)
    raise FileNotFoundError(f"{path}: expected a folder or a zip file of images, found neither; set `images`")


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
        ValueError: when an image does not decode, or image_size is below 16.
        OSError: when the cache's disk lacks the space.
    """
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"image_size: expected at least {MIN_IMAGE_SIZE} pixels, got {image_size}")
    folder = cache_folder() / "images"
    shape = (3, image_size, image_size) if prepare is None else prepare.shape
    made = image_size if prepare is None else prepare.key
    key = content_key("images", _DECODER_VERSION, store.identity(names), list(names), made, skip_broken)
    array_file, list_file = folder / f"{key}.npy", folder / f"{key}.json"
    # The list is written last: where it stands, the array is whole.
    if list_file.is_file() and array_file.is_file():
        return np.load(array_file, mmap_mode="r"), read_json(list_file)["kept"]
    decoded = _decode_all(store, names, shape, skip_broken, prepare)
    if not is_writable(folder):
        _LOG.warning("cannot write %s: keeping %d images in memory; set SEQRL_CACHE to a folder that can be written", folder, len(names))
        pictures = list(decoded)
        return _stack(pictures, shape), [picture is not None for picture in pictures]
    _check_space(folder, len(names) * math.prod(shape))
    with atomic_write(array_file) as file:
        writer = RowWriter(file, shape, len(names))
        kept, waiting = [], []
        for picture in decoded:
            kept.append(picture is not None)
            waiting.append(picture)
            if len(waiting) == _ROWS_A_WRITE:
                writer.append(_stack(waiting, shape))
                waiting = []
        writer.append(_stack(waiting, shape))
        writer.close()
    with atomic_write(list_file) as file:
        file.write(json.dumps({"names": list(names), "kept": kept}).encode())
    return np.load(array_file, mmap_mode="r"), kept


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


def _decode_all(
    store: ImageStore, names: Sequence[str], shape: tuple[int, ...], skip_broken: bool, prepare: Prepare | None
) -> Iterator[np.ndarray | None]:
    """Decode in the order of the names, a few ahead of what is asked for; None for a broken image left out."""
    _LOG.info("decoding %d images to %dx%d; this happens once", len(names), *shape[1:])

    def decode(data: bytes) -> np.ndarray:
        return decode_image(data, shape[1]) if prepare is None else prepare(decode_picture(data, "RGB"))

    console = Console(stderr=True)
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
            for name in track(
                names, description=f"decoding {len(names)} images", console=console, transient=True, disable=not sys.stderr.isatty()
            ):
                try:
                    pending.append((name, pool.submit(decode, store.read(name))))
                except ValueError as error:
                    pending.append((name, Future()))
                    pending[-1][1].set_exception(error)
                if len(pending) > 8 * _NUM_WORKERS:
                    yield result()
            while pending:
                yield result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stack(pictures: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray:
    whole = [picture for picture in pictures if picture is not None]
    return np.stack(whole) if whole else np.zeros((0, *shape), dtype=np.uint8)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: expected {needed / 1e9:.2f} GB free for decoded images, found {free / 1e9:.2f} GB; set SEQRL_CACHE to another disk"
        )
