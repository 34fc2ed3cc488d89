"""Opens `datasets` data sets with a column of images: their splits under our names, and each row's encoded image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets

from seqrl.tasks.image_bytes import read_encoded
from seqrl.tasks.paths import SPLIT_NAMES, expanded


def open_splits(path: str, columns: Sequence[str], settings: str) -> dict[str, tuple[str, Any]]:
    """Open a data set whose splits are named train, and perhaps dev and test, in one of several words.

    Args:
        path: a folder written by `save_to_disk`, a folder that `load_dataset` reads, or a name on the hub.
        columns: that each split has to have.
        settings: what to set where they are called otherwise, for the error.

    Returns:
        For each of our names the split's own and its rows.

    Raises:
        FileNotFoundError: when there is no such data set.
        ValueError: when a split has a strange name, two mean the same, there is no train split, or a column is missing.
    """
    folder = expanded(path)
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder) if folder.exists() else path)
    except RecursionError as error:
        raise ValueError(f"{path}: a JSON file of it is nested too deeply to be read; it is no data set") from error
    except (ConnectionError, FileNotFoundError, datasets.exceptions.DatasetsError) as error:
        raise FileNotFoundError(f"{path}: expected a `datasets` name or folder, found neither ({error}); correct `path`") from error
    named = {str(name): rows for name, rows in loaded.items()} if isinstance(loaded, dict) else {"train": loaded}
    splits: dict[str, tuple[str, Any]] = {}
    for name, rows in named.items():
        ours = SPLIT_NAMES.get(name)
        if ours is None:
            known, came = ", ".join(SPLIT_NAMES), ", ".join(named)
            raise ValueError(
                f"{path}: expected the splits train and perhaps dev and test (among {known}), got {came}; rename or remove splits"
            )
        if ours in splits:
            raise ValueError(f"{path}: expected one split that means {ours}, got {splits[ours][0]} and {name}; rename or remove one")
        for column in columns:
            if column not in rows.column_names:
                came = ", ".join(rows.column_names)
                raise ValueError(f"{path}, {name}: expected a column {column!r}, got {came}; set {settings}")
        splits[ours] = name, rows
    if "train" not in splits:
        raise ValueError(f"{path}: expected a train split, got {', '.join(named) or 'none'}; rename a split")
    return splits


class ImageColumn:
    """The encoded images of a split's rows, a store whose names are the rows' numbers; see `ImageStore` of captioning.

    Args:
        rows: the split.
        column: holds images, or paths of image files.
        where: the data set and split, for messages.

    Raises:
        ValueError: when the column holds something else.
    """

    def __init__(self, rows: Any, column: str, where: str) -> None:
        feature = rows.features[column]
        is_path = isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")
        if not isinstance(feature, datasets.Image) and not is_path:
            raise ValueError(
                f"{where}: expected images in the column {column!r}, got {feature}; set image_column, or cast the column to "
                "datasets.Image()"
            )
        self._rows = rows if is_path else rows.cast_column(column, datasets.Image(decode=False))
        self._column, self._where = column, where

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those rows that have neither an image nor the path of a file that is there."""
        cells = ((name, *self._cell(name)) for name in names)
        return [name for name, data, path in cells if data is None and (path is None or not Path(path).is_file())]

    def read(self, row: int | str) -> bytes:
        """Give the encoded image of a row.

        Raises:
            ValueError: when it has none.
        """
        data, path = self._cell(row)
        if data is None and path is None:
            raise ValueError(f"{self.describe(row)}: expected an image, got none; remove the row")
        return data if data is not None else read_encoded(Path(path))

    def describe(self, row: int | str) -> str:
        """Say where an image is."""
        return f"{self._where}, row {row}, column {self._column}"

    def identity(self, names: Sequence[str]) -> str:
        """Give a text that changes when images do: the library's fingerprint of the rows is part of it."""
        return f"{self._where}, column {self._column}, {self._rows._fingerprint}"

    def _cell(self, row: int | str) -> tuple[Any, Any]:
        """Give the bytes and the path of a row, either of which may be None."""
        cell = self._rows[int(row)][self._column]
        return (None, cell) if isinstance(cell, str) else ((cell or {}).get("bytes"), (cell or {}).get("path"))
