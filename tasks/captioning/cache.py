"""Rows of arrays that are prepared once and mapped from the cache afterwards."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

from seqrl.metrics.cache_files import atomic_write, cache_folder, is_writable
from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import read_json

_LOG = logging.getLogger(__name__)
# What reading a damaged .npy or .json raises; headers of arrays are read by Python's own parser.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, SyntaxError, OverflowError, TokenError)


def content_key(*parts: Any) -> str:
    """Hash what a cache entry depends on: the first 20 hexadecimal digits of the SHA-256 of its JSON.

    Args:
        parts: anything that JSON can hold.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def load_rows(
    kind: str,
    key: str,
    names: Sequence[str],
    make: Callable[[], Iterator[np.ndarray | None]],
    row_shape: tuple[int, ...],
    dtype: type = np.uint8,
) -> tuple[np.ndarray, list[bool]]:
    """Make an array with a row for each name once, and map it from the cache afterwards.

    Where the cache folder cannot be written, the array is kept in memory.

    Args:
        kind: of the rows, "images" for instance; names the folder inside the cache.
        key: changes when the rows do.
        names: N names.
        make: gives the row of each name, or None for one that is left out.
        row_shape: shape of one row.
        dtype: of the rows.

    Returns:
        rows: [M, *row_shape], read-only where mapped; M < N where rows were left out.
        kept: N entries, False for a name whose row was left out.

    Raises:
        OSError: when the cache's disk lacks the space.
    """
    folder = cache_folder() / kind
    array_file, list_file = folder / f"{key}.npy", folder / f"{key}.json"
    # The list is written last: where it stands, the array is whole, unless somebody has changed it.
    if list_file.is_file() and array_file.is_file():
        found = _kept_rows(array_file, list_file, (len(names), *row_shape), np.dtype(dtype))
        if found is not None:
            return found
    if not is_writable(folder):
        _LOG.warning("cannot write %s: keeping %d %s in memory; set SEQRL_CACHE to a folder that can be written", folder, len(names), kind)
        made = list(make())
        whole = [row for row in made if row is not None]
        return np.stack(whole) if whole else np.zeros((0, *row_shape), dtype), [row is not None for row in made]
    needed, free = len(names) * math.prod(row_shape) * np.dtype(dtype).itemsize, shutil.disk_usage(folder).free
    if free < needed:
        missing = f"expected {needed / 1e9:.2f} GB free for {kind}, found {free / 1e9:.2f} GB"
        raise OSError(f"{folder}: {missing}; set SEQRL_CACHE to another disk")
    with atomic_write(array_file) as file:
        kept = _write_rows(file, make(), len(names), row_shape, np.dtype(dtype))
    with atomic_write(list_file) as file:
        file.write(json.dumps({"names": list(names), "kept": kept, "written_ns": array_file.stat().st_mtime_ns}).encode())
    return np.load(array_file, mmap_mode="r"), kept


def _kept_rows(array_file: Path, list_file: Path, most: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray, list[bool]] | None:
    """Map what was kept; None, with a warning, where it was cut, changed or damaged since, so that it is made again.

    Args:
        array_file: of the rows.
        list_file: which says what rows there are, and when they were written.
        most: shape of all rows, those that were left out among them.
        dtype: of the rows.
    """
    try:
        listed = read_json(list_file)
        kept = [bool(keep) for keep in listed["kept"]]
        rows = np.load(array_file, mmap_mode="r", allow_pickle=False)
        wrong = "" if rows.shape == (sum(kept), *most[1:]) and rows.dtype == dtype and len(kept) == most[0] else "it has another form"
        if listed.get("written_ns", array_file.stat().st_mtime_ns) != array_file.stat().st_mtime_ns:
            wrong = "it was changed after it was written"
    except DAMAGE as error:
        wrong = str(error) or type(error).__name__
    if wrong:
        _LOG.warning("%s or its .json is damaged (%s): it is made again", array_file, brief(wrong))
        return None
    return rows, kept


def _write_rows(
    file: BinaryIO, rows: Iterator[np.ndarray | None], most: int, row_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> list[bool]:
    """Write an .npy file row by row, at most so many, for arrays that need not fit into memory; give which rows there are.

    Ordinary writes are used, not a memory map: on a full disk they raise an error, where a memory map kills the process.
    """

    def write_header(number: int) -> int:
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (number, *row_shape)}
        np.lib.format.write_array_header_1_0(file, description)
        return file.tell()

    start, kept = write_header(most), list[bool]()
    for row in rows:
        kept.append(row is not None)
        if row is None:
            continue
        if row.shape != row_shape or row.dtype != dtype:
            raise ValueError(f"rows: expected {dtype} {list(row_shape)}, got {row.dtype} {list(row.shape)}")
        file.write(row.tobytes())
    file.seek(0)
    if write_header(sum(kept)) != start:
        raise RuntimeError("numpy changed the length of its header; please report this with your numpy version")
    return kept
