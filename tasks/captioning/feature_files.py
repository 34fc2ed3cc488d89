"""Files with features of one's own, NumPy's .npy and .npz and HDF5: looked over before anything is read, and never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from seqrl.metrics.limits import brief, refuse_bomb, require_regular
from seqrl.metrics.text_files import lines_of, read_json, read_text
from seqrl.tasks.captioning.cache import DAMAGE
from seqrl.tasks.captioning.feature_form import FeatureFile, check_form, from_array, from_members
from seqrl.tasks.hdf5_files import open_hdf5

ENDINGS = (".npy", ".npz", ".h5", ".hdf5")
_WHOLE = "copy it again, whole"
_LONGEST_HEADER = 2**16
# What reading a damaged array or member of a zip file raises.
_DAMAGE = (*DAMAGE, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


@contextmanager
def open_features(path: Path) -> Iterator[FeatureFile]:
    """Open a file of features and check all that its headers tell: form, kind of numbers, and whether it is whole.

    A .npy holds [M, R, D], [M, H, W, D] or [M, D] (a single region), and beside it lies `FILE.names.txt`, a name a line, or
    `FILE.names.json`, a list: rows that were only counted would go to the wrong images as soon as these are held out or left out. A .npz
    or HDF5 file holds such an array as `features` with `names`, and perhaps `counts` [M] or `mask` [M, R]; or else an array [R, D],
    [H, W, D] or [D] under each image's name.

    Raises:
        FileNotFoundError: when there is no such file, or no names beside it.
        ValueError: when it is none of these, cut short, or holds what is no feature, or what reads HDF5 is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; set `features` to a file ending with {', '.join(ENDINGS)}")
    require_regular(path)
    if path.suffix == ".npy":
        yield _open_npy(path)
    elif path.suffix == ".npz":
        try:
            archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            wanted = f"{path}: expected arrays as numpy.savez writes them"
            raise ValueError(f"{wanted}, but it is cut short or damaged ({error}); {_WHOLE}") from error
        with archive:
            yield _open_npz(path, archive)
    elif path.suffix in (".h5", ".hdf5"):
        with open_hdf5(path, extra="vision") as rows:
            yield from_members(path, rows, lambda name: (rows[name].shape, rows[name].dtype), rows.__getitem__)
    else:
        raise ValueError(f"{path}: expected features in a file ending with {', '.join(ENDINGS)}, got {path.suffix or 'no ending'!r}")


def _open_npy(path: Path) -> FeatureFile:
    with path.open("rb") as file:
        shape, dtype = _header(file, str(path), path.stat().st_size)
    check_form(str(path), shape, dtype, first=1)
    for beside in (Path(f"{path}.names.txt"), Path(f"{path}.names.json")):
        if beside.exists():
            names = _names_beside(beside)
            return from_array(path, np.load(path, mmap_mode="r", allow_pickle=False), names, {})
    raise FileNotFoundError(
        f"{path}: expected the images' names in {path.name}.names.txt beside it, a line for each of its {shape[0]} rows, found none; "
        "write them there, so that no row goes to another image"
    )


def _names_beside(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return [line.strip() for line in lines_of(read_text(path)) if line.strip()]
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected a list of texts, got {brief(names)}")
    return names


def _header(file: IO[bytes], place: str, size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an .npy; refuse one whose array does not fit into `size` bytes."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except _DAMAGE as error:
        raise ValueError(
            f"{place}: expected an array as numpy.save writes it, but its beginning does not read ({brief(str(error))})"
        ) from error
    if dtype.hasobject:
        raise ValueError(f"{place}: expected numbers, got Python objects, which are never unpacked; save an array of numbers")
    if min(shape, default=0) < 0:
        raise ValueError(f"{place}: expected axes of 0 or more, got {list(shape)}: it is damaged; {_WHOLE}")
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if needed > size:
        raise ValueError(f"{place}: expected {needed} bytes for {dtype} {list(shape)}, got {size}: it is cut short; {_WHOLE}")
    return shape, dtype


@contextmanager
def _unpacked(place: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"{place}: it does not unpack ({error}); {_WHOLE}") from error


def _open_npz(path: Path, archive: zipfile.ZipFile) -> FeatureFile:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}

    def header(name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        place, info = f"{path}, {brief(name)}", members[name]
        refuse_bomb(place, info.compress_size, info.file_size)
        # More than any header has, so that what is said of it stays apart from what is said of the packing.
        with _unpacked(place), archive.open(info) as file:
            beginning = file.read(_LONGEST_HEADER)
        return _header(io.BytesIO(beginning), place, info.file_size)

    def read(name: str) -> np.ndarray:
        header(name)
        with _unpacked(f"{path}, {brief(name)}"):
            return np.asarray(np.lib.format.read_array(io.BytesIO(archive.read(members[name])), allow_pickle=False))

    return from_members(path, members, header, read)
