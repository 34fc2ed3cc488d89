"""IDX, the format of the MNIST files: a header with the sizes of an array, then its bytes; plain or packed by gzip."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.limits import refuse_bomb
from seqrl.tasks.image_bytes import grey_levels

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate turns a byte into 1,032 at most, so a packed file's length bounds what it can hold.
_MOST_BYTES_A_PACKED_BYTE = 1032
# By the header's number; all are big-endian.
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MOST_DIMENSIONS = 64  # of an array in NumPy

# Images and labels of the two parts of MNIST, and of the data sets that come in its form.
_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_mnist(folder: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Read the four files of MNIST, or of another data set whose files have the same names.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k, each plain or with the ending
            .gz; a dot before idx3 and idx1 will do too.

    Returns:
        "train" and "test": images uint8 [N, H, W] and labels int64 [N]. Images of other elements are brought into 8 bits, see
        `seqrl.tasks.image_bytes.grey_levels`.

    Raises:
        FileNotFoundError: when a file is not there.
        ValueError: when one is damaged (see `read_idx`), is there twice, has another number of dimensions or elements that are no
            grey levels or no labels, or the lengths differ.
    """
    read = {}
    for name, files in _MNIST_FILES.items():
        paths = [_find(folder, file) for file in files]
        images, labels = (read_idx(path) for path in paths)
        for path, array, meaning, dimensions in ((paths[0], images, "grey images, N x H x W", 3), (paths[1], labels, "labels, N", 1)):
            if array.ndim != dimensions:
                came = " x ".join(map(str, array.shape))
                raise ValueError(f"{path}: expected {meaning}, got {came}; use a file with {dimensions} dimension{'s' * (dimensions > 1)}")
        if len(images) != len(labels):
            raise ValueError(
                f"{paths[1]}: expected {len(images)} labels, one for each image of {paths[0].name}, got {len(labels)}; "
                "take both files from the same data set"
            )
        if labels.dtype.kind == "f":
            raise ValueError(f"{paths[1]}: expected labels, whole numbers, got {labels.dtype}; convert the file")
        try:
            read[name] = grey_levels(images), labels.astype(np.int64)
        except ValueError as error:
            raise ValueError(f"{paths[0]}: {error}; convert the file") from error
    return read


def _find(folder: Path, name: str) -> Path:
    names = [stem + ending for stem in (name, name.replace("-idx", ".idx")) for ending in ("", ".gz")]
    found = [candidate for candidate in names if (folder / candidate).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)}, found none; put the IDX files there or set `path`")
    if len(found) > 1:
        raise ValueError(f"{folder}: expected one file {name}, got {' and '.join(found)}; remove all but one")
    return folder / found[0]


def read_idx(path: Path | str) -> NDArray[Any]:
    """Read an array from an IDX file.

    The file holds 0, 0, the element type (8 unsigned bytes, 9 signed ones, 11 and 12 integers of 16 and 32 bits, 13 and 14 real
    numbers of 32 and 64 bits), the number of dimensions D, then D sizes as big-endian 32-bit integers, then
    the elements, the last dimension fastest. Whether it is packed is told by its first bytes, not by its name.

    Args:
        path: the file, plain or packed by gzip.

    Returns:
        Of the type and shape that the header gives, in the machine's byte order.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no IDX file, is cut short, goes on after its last
            element, or is packed and damaged.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, "File formats".
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an IDX file, found no file; download it or correct the path")
    most = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not packed:
            return _read(path, raw, most)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(path, unpacked, most * _MOST_BYTES_A_PACKED_BYTE)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: expected a whole gzip file, got a damaged one ({error}); download it again") from error


def _read(path: Path, file: BinaryIO | gzip.GzipFile, most: int) -> NDArray[Any]:
    """Read header and elements; `most` is an upper bound of the bytes in the file."""
    shape, kind = _read_header(path, file)
    count = math.prod(shape) * kind.itemsize
    size = " x ".join(map(str, shape))
    # Compared before anything of that size is allocated: a damaged header may ask for terabytes.
    if count > most:
        raise ValueError(f"{path}: expected {count} bytes ({size}) after the header, got fewer than {most}; download the file again")
    if isinstance(file, gzip.GzipFile):
        refuse_bomb(str(path), path.stat().st_size, count)
    # One byte more, so that a longer file is seen; in a packed one this also compares the checksum.
    elements = bytearray(file.read(count + 1))
    if len(elements) != count:
        came = "more" if len(elements) > count else f"{len(elements)}"
        raise ValueError(f"{path}: expected {count} bytes ({size}) after the header, got {came}; download the file again")
    return np.frombuffer(elements, dtype=kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def _read_header(path: Path, file: BinaryIO | gzip.GzipFile) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 0 < magic[3] <= _MOST_DIMENSIONS:
        raise ValueError(
            f"{path}: expected an IDX file, which starts with the bytes 00 00, the type (08 for bytes) and the number of dimensions, "
            f"got {magic.hex(' ') or 'an empty file'}; download the file again or correct the path"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(f"{path}: expected a header with {magic[3]} sizes, got {len(sizes)} bytes of them; download the file again")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if 0 in shape:
        raise ValueError(f"{path}: expected at least one element, got the sizes {' x '.join(map(str, shape))}; download the file again")
    return shape, np.dtype(_TYPES[magic[2]])
