"""Images and captions out of the columns of a `datasets` data set, from the hub or from a local folder."""

from __future__ import annotations

from seqrl.tasks.captioning.caption_files import CaptionedImage, make_record
from seqrl.tasks.captioning.image_stores import ImageStore
from seqrl.tasks.image_datasets import ImageColumn, open_splits


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
        stores[ours] = ImageColumn(rows, image_column, place)
        for index, captions in enumerate(rows[caption_column]):
            texts = [captions] if isinstance(captions, str) else list(captions or [])
            records[ours].append(make_record(place, f"{name}-{index:06d}", str(index), texts))
    return records, {name: stores.get(name, stores["train"]) for name in records}
