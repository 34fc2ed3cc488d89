"""Images and captions out of the columns of a `datasets` data set, from the hub or from a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets

from seqrl.tasks.captioning.cache import content_key
from seqrl.tasks.captioning.caption_files import SPLIT_NAMES, CaptionedImage, make_record
from seqrl.tasks.captioning.images import ImageStore


class DatasetStore:
    """The image column of one split; an image's name is its row number.

    Args:
        rows: the split.
        column: its image column; images as such, or paths.
        name: of the data set and split, for messages.
    """

    def __init__(self, rows: Any, column: str, name: str) -> None:
        image = isinstance(rows.features[column], datasets.Image)
        self._rows = rows.cast_column(column, datasets.Image(decode=False)) if image else rows
        self._column, self._name, self._holds_images = column, name, image

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those rows that hold no image."""
        lost = []
        for name in names:
            cell = self._rows[int(name)][self._column]
            path = cell if isinstance(cell, str) else (cell or {}).get("path")
            held = isinstance(cell, dict) and cell.get("bytes") is not None
            if not held and (path is None or not Path(path).is_file()):
                lost.append(name)
        return lost

    def read(self, name: str) -> bytes:
        """Give the encoded image of a row."""
        cell = self._rows[int(name)][self._column]
        if isinstance(cell, str):
            return Path(cell).read_bytes()
        return cell["bytes"] if cell.get("bytes") is not None else Path(cell["path"]).read_bytes()

    def identity(self, names: Sequence[str]) -> str:
        """Give the library's fingerprint of the split."""
        return content_key(self._name, self._column, self._rows._fingerprint)

    def describe(self, name: str) -> str:
        """Give data set, row and column."""
        return f"{self._name}, row {name}, column {self._column}"


def read_dataset(path: str, image_column: str, caption_column: str) -> tuple[dict[str, list[CaptionedImage]], dict[str, ImageStore]]:
    """Read every split of a data set whose name we know.

    Args:
        path: a folder written by `save_to_disk`, a folder that `load_dataset` reads, or a name on the hub.
        image_column: holds images or paths.
        caption_column: holds a text or a list of texts.

    Returns:
        Records and image store of "train", "dev" and "test".

    Raises:
        ValueError: when a column is missing, a split has a strange name, or an image has no caption.
        FileNotFoundError: when there is no such data set.
    """
    split = _load(path)
    records: dict[str, list[CaptionedImage]] = {"train": [], "dev": [], "test": []}
    stores: dict[str, ImageStore] = {}
    for name, rows in split.items():
        if name not in SPLIT_NAMES:
            raise ValueError(f"{path}: expected splits among {', '.join(SPLIT_NAMES)}, got {name!r}")
        for column in (image_column, caption_column):
            if column not in rows.column_names:
                raise ValueError(
                    f"{path}, {name}: expected a column {column!r}, got {', '.join(rows.column_names)}; set image_column and caption_column"
                )
        ours, place = SPLIT_NAMES[name], f"{path}, {name}"
        if ours in stores:
            raise ValueError(f"{path}: expected one split that means {ours}, got two of {', '.join(split)}")
        stores[ours] = DatasetStore(rows, image_column, place)
        for index, captions in enumerate(rows[caption_column]):
            texts = [captions] if isinstance(captions, str) else list(captions or [])
            records[ours].append(make_record(place, f"{name}-{index:06d}", str(index), texts))
    if not stores:
        raise ValueError(f"{path}: expected at least a train split, got none")
    anywhere = next(iter(stores.values()))
    return records, {name: stores.get(name, anywhere) for name in records}


def _load(path: str) -> dict[str, Any]:
    folder = Path(os.path.expandvars(path)).expanduser()
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder) if folder.exists() else path)
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise FileNotFoundError(f"{path}: expected a `datasets` name or folder, and found neither ({error})") from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
