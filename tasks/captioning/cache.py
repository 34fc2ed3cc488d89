"""Rows of arrays that are prepared once and mapped from the cache afterwards."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
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
_ROWS_A_WRITE = 64
# What reading a damaged .npy or .json raises; headers of arrays are read by Python's own parser.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, SyntaxError, OverflowError, TokenError)


def content_key(*parts: Any) -> str:
    """Hash what a cache entry depends on: the first 20 hexadecimal digits of the SHA-256 of its JSON.

    Args:
        parts: anything that JSON can hold.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class RowWriter:
    """Writes an .npy file row by row, for arrays that need not fit into memory.

    Ordinary writes are used, not a memory map: on a full disk they raise an error, where a memory map kills the process.

    Args:
        file: opened for binary writing, at its start.
        row_shape: shape of one row.
        max_rows: largest number of rows that will be written.
        dtype: of the rows.
    """

    def __init__(self, file: BinaryIO, row_shape: tuple[int, ...], max_rows: int, dtype: type = np.uint8) -> None:
        self._file, self._row_shape, self._dtype = file, row_shape, np.dtype(dtype)
        self.num_rows = 0
        self._header(max_rows)
        self._header_bytes = file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Write rows [N, *row_shape]."""
        if rows.shape[1:] != self._row_shape or rows.dtype != self._dtype:
            raise ValueError(f"rows: expected {self._dtype} [N, {self._row_shape}], got {rows.dtype} {list(rows.shape)}")
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.num_rows += len(rows)

    def close(self) -> None:
        """Correct the header to the number of rows that were written."""
        self._file.seek(0)
        self._header(self.num_rows)
        if self._file.tell() != self._header_bytes:
            raise RuntimeError("numpy changed the length of its header; please report this with your numpy version")
        self._file.seek(0, os.SEEK_END)

    def _header(self, num_rows: int) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (num_rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


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
        rows = list(make())
        return _stacked(rows, row_shape, dtype), [row is not None for row in rows]
    _require_space(folder, len(names) * math.prod(row_shape) * np.dtype(dtype).itemsize, kind)
    with atomic_write(array_file) as file:
        writer = RowWriter(file, row_shape, len(names), dtype)
        kept: list[bool] = []
        waiting: list[np.ndarray | None] = []
        for row in make():
            kept.append(row is not None)
            waiting.append(row)
            if len(waiting) == _ROWS_A_WRITE:
                writer.append(_stacked(waiting, row_shape, dtype))
                waiting = []
        writer.append(_stacked(waiting, row_shape, dtype))
        writer.close()
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


def _stacked(rows: Sequence[np.ndarray | None], row_shape: tuple[int, ...], dtype: type) -> np.ndarray:
    whole = [row for row in rows if row is not None]
    return np.stack(whole) if whole else np.zeros((0, *row_shape), dtype=dtype)


def _require_space(folder: Path, needed: int, kind: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: expected {needed / 1e9:.2f} GB free for {kind}, found {free / 1e9:.2f} GB; set SEQRL_CACHE to another disk"
        )
