"""Where prepared data is kept between runs, and how it is written so that no half of it is ever seen."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_STALE_AFTER_SECONDS = 86_400


def cache_folder() -> Path:
    """Give the folder of prepared data: `$SEQRL_CACHE`, or `~/.cache/seqrl`."""
    chosen = os.environ.get("SEQRL_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "seqrl"


def content_key(*parts: Any) -> str:
    """Hash what a cache entry depends on: the first 20 hexadecimal digits of the SHA-256 of its JSON.

    Args:
        parts: anything that JSON can hold.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing and rename it into place once the block has ended without an error.

    Args:
        path: the file to appear; its folder exists.

    Raises:
        OSError: when the disk is full or the folder cannot be written.
    """
    _remove_stale(path)
    temporary = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _remove_stale(path: Path) -> None:
    """Remove what a killed process left behind."""
    for leftover in path.parent.glob(f"{path.name}.part-*"):
        try:
            if time.time() - leftover.stat().st_mtime > _STALE_AFTER_SECONDS:
                leftover.unlink()
        except FileNotFoundError:
            continue
