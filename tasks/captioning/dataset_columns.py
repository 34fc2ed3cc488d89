"""Images and captions out of the columns of a `datasets` data set, from the hub or from a local folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from seqrl.tasks.captioning.cache import content_key
from seqrl.tasks.captioning.caption_files import CaptionedImage, make_record
from seqrl.tasks.captioning.image_stores import ImageStore
from seqrl.tasks.image_datasets import ImageColumn, open_splits


class DatasetStore:
    """The image column of one split; an image's name is its row number.

    Args:
        rows: the split.
        column: its image column; images as such, or paths.
        name: of the data set and split, for messages.
    """

    def __init__(self, rows: Any, column: str, name: str) -> None:
        self._images = ImageColumn(rows, column, name)
        self._column, self._name = column, name

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those rows that hold no image."""
        return [name for name in names if not self._images.holds(int(name))]

    def read(self, name: str) -> bytes:
        """Give the encoded image of a row."""
        return self._images.read(int(name))

    def identity(self, names: Sequence[str]) -> str:
        """Give the library's fingerprint of the split."""
        return content_key(self._name, self._column, self._images.fingerprint)

    def describe(self, name: str) -> str:
        """Give data set, row and column."""
        return f"{self._images.describe(name)}, column {self._column}"


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
    records: dict[str, list[CaptionedImage]] = {"train": [], "dev": [], "test": []}
    stores: dict[str, ImageStore] = {}
    for ours, (name, rows) in open_splits(path, (image_column, caption_column), "image_column and caption_column").items():
        place = f"{path}, {name}"
        stores[ours] = DatasetStore(rows, image_column, place)
        for index, captions in enumerate(rows[caption_column]):
            texts = [captions] if isinstance(captions, str) else list(captions or [])
            records[ours].append(make_record(place, f"{name}-{index:06d}", str(index), texts))
    return records, {name: stores.get(name, stores["train"]) for name in records}
