"""From the settings to the photographs of each split: which caption reader, which image store, what is held out."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqrl.metrics.text_files import refuse_twice
from seqrl.tasks.captioning import caption_files
from seqrl.tasks.captioning.caption_files import CaptionedImage
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.image_stores import ImageStore, open_images
from seqrl.tasks.paths import expanded

SPLITS = ("train", "dev", "test")

_LOG = logging.getLogger(__name__)

_READERS = {"coco": caption_files.read_coco, "karpathy": caption_files.read_karpathy, "jsonl": caption_files.read_jsonl}
# What is looked for in `path` when a setting is left empty.
_TOKEN_FILES = ("captions.token.txt", "Flickr8k.token.txt", "token.txt", "results_20130124.token", "captions.txt")
_IMAGE_PLACES = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "images128.zip", "images.zip")
_LISTS = {
    "train": ("trainImages.txt", "Flickr_8k.trainImages.txt"),
    "dev": ("devImages.txt", "Flickr_8k.devImages.txt"),
    "test": ("testImages.txt", "Flickr_8k.testImages.txt"),
}


@dataclass(frozen=True)
class Photographs:
    """The images of each split, not yet decoded.

    Attributes:
        records: split name to images.
        stores: split name to where their files are.
    """

    records: dict[str, list[CaptionedImage]]
    stores: dict[str, ImageStore]


def find_photographs(config: DataConfig) -> Photographs:
    """Read the captions of a source, split them and check that every image is there, unless there are features in their place.

    Args:
        config: its source is not "scenes".

    Raises:
        FileNotFoundError: when a file, folder or image is not there.
        ValueError: when a file's content is wrong, an image is in two splits, or a split that is needed is empty.
    """
    found = _read(config)
    _hold_out(config, found)
    everything = ((record.image_id, f"{record.place} ({name})") for name in SPLITS for record in found.records[name])
    refuse_twice(everything, "image", config.path)
    for name in ("train", "dev"):
        if not found.records[name]:
            raise ValueError(f"{config.path}: expected images in the {name} split, got none; name them in the data or set num_dev")
    if not config.features:
        _handle_missing(config, found)
    return found


def _read(config: DataConfig) -> Photographs:
    if config.source == "datasets":
        return read_dataset(config.path, config.image_column, config.caption_column)
    root = expanded(config.path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; set `path` to the folder of the {config.source} data")
    if config.source == "flickr8k":
        return _read_flickr8k(config, root)
    if not config.captions:
        raise ValueError(f"captions: source {config.source} needs the name of its caption file; set `captions`")
    split: dict[str, list[CaptionedImage]] = {name: [] for name in SPLITS}
    for record in _READERS[config.source](root / config.captions):
        split[record.split or "train"].append(record)
    stores = dict.fromkeys(SPLITS, open_images(_image_place(root, config.images)))
    if config.dev_captions:
        split["dev"] = caption_files.read_coco(root / config.dev_captions)
    if config.dev_images:
        stores |= dict.fromkeys(("dev", "test"), open_images(_image_place(root, config.dev_images)))
    return Photographs(split, stores)


def read_dataset(path: str, image_column: str, caption_column: str) -> Photographs:
    """Read every split of a `datasets` data set, from the hub or from a local folder.

    Args:
        path: a folder written by `save_to_disk`, a folder that `load_dataset` reads, or a name on the hub.
        image_column: holds images or paths.
        caption_column: holds a text or a list of texts.

    Raises:
        ValueError: when a column is missing, a split has a strange name, or an image has no caption.
        FileNotFoundError: when there is no such data set.
    """
    # Imported here because the library takes seconds to load.
    from seqrl.tasks.image_datasets import ImageColumn, open_splits

    records: dict[str, list[CaptionedImage]] = {name: [] for name in SPLITS}
    stores: dict[str, ImageStore] = {}
    for ours, (name, rows) in open_splits(path, (image_column, caption_column), "image_column and caption_column").items():
        place = f"{path}, {name}"
        stores[ours] = ImageColumn(rows, image_column, place)
        for index, captions in enumerate(rows[caption_column]):
            texts = [captions] if isinstance(captions, str) else list(captions or [])
            records[ours].append(caption_files.make_record(place, f"{name}-{index:06d}", str(index), texts))
    return Photographs(records, {name: stores.get(name, stores["train"]) for name in SPLITS})


def _read_flickr8k(config: DataConfig, root: Path) -> Photographs:
    captions = root / config.captions if config.captions else _first(root, _TOKEN_FILES)
    if captions is None:
        raise FileNotFoundError(f"{root}: found none of the caption files {', '.join(_TOKEN_FILES)}; set `captions`")
    records = {record.image_id: record for record in caption_files.read_token_file(captions)}
    split: dict[str, list[CaptionedImage]] = {name: [] for name in SPLITS}
    given = {name: getattr(config, f"{name}_list") for name in SPLITS}
    lists = {name: root / file if file else _first(root, _LISTS[name]) for name, file in given.items()}
    for name, path in lists.items():
        if path is not None:
            names = caption_files.read_list(path)
            lacking = [image for image in names if image not in records]
            if lacking:
                raise ValueError(f"{path}: {len(lacking)} images have no caption in {captions}, the first: {', '.join(lacking[:3])}")
            split[name] = [dataclasses.replace(records[image], place=str(path)) for image in names]
    if not any(lists.values()) and not config.num_dev and caption_files.is_caption_table(captions):
        _split_by_name(config, captions, list(records.values()), split)
    elif lists["train"] is None:
        _, split["train"] = _parted(list(records.values()), [*split["dev"], *split["test"]])
    return Photographs(split, dict.fromkeys(SPLITS, open_images(_image_place(root, config.images))))


def _split_by_name(config: DataConfig, captions: Path, records: list[CaptionedImage], split: dict[str, list[CaptionedImage]]) -> None:
    """Hold out an eighth as dev and an eighth as test, as Flickr8k's own lists do; Kaggle's download has no lists."""
    part, order = len(records) // 8, _by_hash(records)
    split["dev"], rest = _parted(records, order[:part])
    split["test"], split["train"] = _parted(rest, [] if config.num_test else order[part : 2 * part])
    sizes = ", ".join(f"{len(split[name])} {name}" for name in SPLITS)
    _LOG.warning(
        "%s: there are no lists of images beside it, so the names' hashes decide: %s. Published metrics are of Flickr8k's own lists.",
        captions,
        sizes,
    )


def _parted(records: Sequence[CaptionedImage], chosen: Sequence[CaptionedImage]) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """Give the images that are chosen, and the others, both in the order of the records."""
    ids = {record.image_id for record in chosen}
    return [record for record in records if record.image_id in ids], [record for record in records if record.image_id not in ids]


def _by_hash(records: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    # The order hangs on the names alone, so that it stays when the file's order changes or images are added.
    return sorted(records, key=lambda record: hashlib.sha256(record.image_id.encode()).digest())


def _hold_out(config: DataConfig, found: Photographs) -> None:
    """Make the splits that the source lacks."""
    records, stores = found.records, found.stores
    if config.num_dev:
        if records["dev"]:
            raise ValueError(f"num_dev: the data has {len(records['dev'])} dev images already; leave num_dev at 0")
        records["dev"], records["train"] = _parted(records["train"], _by_hash(records["train"])[: config.num_dev])
        stores["dev"] = stores["train"]
    if config.num_test:
        if records["test"]:
            raise ValueError(f"num_test: the data has {len(records['test'])} test images already; leave num_test at 0")
        if config.num_test >= len(records["dev"]):
            raise ValueError(f"num_test: expected fewer than the {len(records['dev'])} dev images, got {config.num_test}")
        records["test"] = records["dev"][-config.num_test :]
        records["dev"] = records["dev"][: -config.num_test]
        stores["test"] = stores["dev"]


def _handle_missing(config: DataConfig, found: Photographs) -> None:
    for name in SPLITS:
        missing = found.stores[name].missing(record.file_name for record in found.records[name])
        if not missing:
            continue
        first = ", ".join(found.stores[name].describe(image) for image in missing[:3])
        if not config.skip_broken_images:
            message = f"{name}: {len(missing)} of {len(found.records[name])} images are missing, the first: {first}"
            raise FileNotFoundError(f"{message}; add them, correct `images`, or set skip_broken_images: true")
        _LOG.warning("%s: left out %d missing images, the first: %s", name, len(missing), first)
        absent = set(missing)
        found.records[name][:] = [record for record in found.records[name] if record.file_name not in absent]
        if not found.records[name]:
            raise FileNotFoundError(f"{name}: not one image is there, the first missing: {first}; correct `images`")


def _image_place(root: Path, name: str) -> Path:
    return root / name if name else _first(root, _IMAGE_PLACES) or root


def _first(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)
