"""Arrays of an HDF5 file: nothing is followed out of the file, and nothing is larger than it can be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.metrics.limits import brief, refuse_bomb

_MOST_FOLDERS_DEEP = 8


class Rows:
    """An array whose rows are read when they are asked for.

    Attributes:
        shape: of all rows.
        dtype: of a number.
    """

    def __init__(self, path: Path, found: Any) -> None:
        self._path, self._found = path, found
        self.shape, self.dtype = found.shape or (), found.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        with _read_whole(self._path, self._found.name):
            return np.asarray(self._found[index])


@contextmanager
def open_hdf5(path: Path, *, extra: str) -> Iterator[dict[str, Rows]]:
    """Open an HDF5 file; give its arrays by full name, such as `episode_0/actions`.

    Args:
        path: the file.
        extra: of this package, which brings h5py.

    Raises:
        ValueError: when it is no whole HDF5 file, leads out of itself, or h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: HDF5 files are read by h5py, which is not installed: pip install 'seqrl[{extra}]'") from error
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: expected an HDF5 file, but it is none, cut short or damaged ({brief(str(error))}); copy it again, whole"
        ) from error
    with file:
        found = dict(_data_sets(path, file, "", set(), h5py))
        # A row is unpacked with the whole chunk that it stands in, which may be larger than all rows.
        numbers = (max(math.prod(part.shape or ()), math.prod(part.chunks or ())) * part.dtype.itemsize for part in found.values())
        refuse_bomb(str(path), path.stat().st_size, sum(numbers))
        yield {name: Rows(path, part) for name, part in found.items()}


def _data_sets(path: Path, group: Any, prefix: str, seen: set[Any], h5py: Any) -> Iterator[tuple[str, Any]]:
    """Give every data set with its full name; links out of the file and groups that hold themselves are refused."""
    with _read_whole(path, prefix):
        place, names = h5py.h5o.get_info(group.id).addr, list(group)
    if place in seen or prefix.count("/") > _MOST_FOLDERS_DEEP:
        raise ValueError(
            f"{path}, {brief(prefix)}: expected groups that stand in one place, at most {_MOST_FOLDERS_DEEP} deep; write it anew"
        )
    seen.add(place)
    for name in names:
        with _read_whole(path, prefix + name):
            link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(
                f"{path}, {brief(prefix + name)}: expected arrays in the file itself, got a link; links are not followed, copy them"
            )
        with _read_whole(path, prefix + name):
            found = group[name]
        if isinstance(found, h5py.Group):
            yield from _data_sets(path, found, f"{prefix}{name}/", seen, h5py)
        elif isinstance(found, h5py.Dataset):
            with _read_whole(path, prefix + name):
                # Of a kind of numbers that NumPy lacks, h5py says so only when it is asked.
                outside, _ = found.is_virtual or found.external, (found.shape, found.dtype)
            if outside:
                what = "a data set that stands in other files; copy them into one"
                raise ValueError(f"{path}, {brief(prefix + name)}: expected arrays in the file itself, got {what}")
            yield prefix + name, found


@contextmanager
def _read_whole(path: Path, name: str) -> Iterator[None]:
    """Say of what h5py cannot read where it is, and what to do; h5py's errors are of many types."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        place = f"{path}, {brief(name)}" if name else path
        raise ValueError(f"{place}: it does not read ({brief(str(error))}); copy the file again, whole") from error
