"""Where labelled grey images come from: scikit-learn's digits, IDX files, `datasets`, folders of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seqrl.tasks.attention.data_config import DataConfig
from seqrl.tasks.attention.idx_files import read_mnist
from seqrl.tasks.image_bytes import decode_picture, read_encoded
from seqrl.tasks.paths import SPLIT_NAMES, expanded

_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
# Of the 1,797 digits; 1,300 are left for training.
_NUM_DIGITS_HELD_OUT = {"dev": 247, "test": 250}


@dataclass(frozen=True)
class SourceSplit:
    """A split as its source has it.

    Attributes:
        labels: int64 [N], numbers of the classes.
        read: reads the images of the rows [n] asked for, uint8 [n, H, W].
    """

    labels: Tensor
    read: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageSource:
    """What a source has.

    Attributes:
        splits: train, and perhaps dev and test.
        class_names: the name of each class.
        num_held_out: how many training images to hold out for each split that it lacks.
    """

    splits: dict[str, SourceSplit]
    class_names: list[str]
    num_held_out: dict[str, int]


def open_source(config: DataConfig) -> ImageSource:
    """Find the images of a source; those of folders and `datasets` are decoded only when they are read.

    Args:
        config: see there.

    Raises:
        FileNotFoundError: when a file or folder is not there.
        ValueError: when a file's content is wrong; the message names file, place and remedy.
    """
    reader = {"digits": _read_digits, "mnist": _read_mnist, "datasets": _read_datasets, "folder": _read_folder}[config.source]
    return reader(config)


def refuse_strange_labels(where: str, labels: Tensor, num_classes: int) -> None:
    """Refuse labels that name no class.

    Args:
        where: named in the message.
        labels: int64 [N].
        num_classes: C.

    Raises:
        ValueError: when one is not in 0..C-1.
    """
    strange = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(strange):
        row = int(strange[0])
        raise ValueError(
            f"{where}: expected labels from 0 to {num_classes - 1}, one of {num_classes} classes, got {int(labels[row])} for image {row}; "
            "correct the labels or name all classes"
        )


def _read_digits(config: DataConfig) -> ImageSource:
    # Imported here because the library takes a second to load.
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Their 17 grey levels become 0 to 255.
    small = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) * (255 / 16)
    images = F.interpolate(small, size=(config.image_size, config.image_size), mode="bilinear", align_corners=False)
    part = _in_memory(images.squeeze(1).round().to(torch.uint8), torch.as_tensor(digits.target, dtype=torch.int64))
    return ImageSource({"train": part}, [str(digit) for digit in range(10)], _NUM_DIGITS_HELD_OUT)


def _read_mnist(config: DataConfig) -> ImageSource:
    folder, size = expanded(config.path), config.image_size
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; set `path` to the folder of the IDX files")
    parts = {}
    for name, (images, labels) in read_mnist(folder).items():
        if images.shape[1:] != (size, size):
            raise ValueError(
                f"{folder}, {name}: expected images of {size}x{size} pixels, got {images.shape[1]}x{images.shape[2]}; set image_size"
            )
        parts[name] = _in_memory(torch.from_numpy(images), torch.from_numpy(labels).long())
        refuse_strange_labels(f"{folder}, {name}", parts[name].labels, 10)
    return ImageSource(parts, [str(digit) for digit in range(10)], {"dev": config.num_dev})


def _in_memory(images: Tensor, labels: Tensor) -> SourceSplit:
    return SourceSplit(labels, lambda rows: images[rows])


def _read_folder(config: DataConfig) -> ImageSource:
    root = expanded(config.path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; set `path` to a folder that holds one folder of images a class")
    # A folder of this name with folders in it is a split; one with images in it is a class.
    found = [folder for folder in _subfolders(root) if folder.name in SPLIT_NAMES and _subfolders(folder)]
    folders = {SPLIT_NAMES[folder.name]: folder for folder in found} or {"train": root}
    if found and (len(folders) < len(_subfolders(root)) or "train" not in folders):
        came = ", ".join(folder.name for folder in _subfolders(root))
        raise ValueError(f"{root}: expected train and perhaps dev and test, or one folder a class, got {came}; rename or move folders")
    class_names = [folder.name for folder in _subfolders(folders["train"])]
    if len(class_names) < 2:
        came = ", ".join(class_names) or "none"
        raise ValueError(f"{folders['train']}: expected at least 2 folders, one a class, got {came}; sort the images into a folder a class")
    parts = {name: _read_class_folders(folder, class_names, config.image_size) for name, folder in folders.items()}
    return ImageSource(parts, class_names, dict.fromkeys(("dev", "test"), max(1, len(parts["train"].labels) // 10)))


def _read_class_folders(folder: Path, class_names: Sequence[str], image_size: int) -> SourceSplit:
    files: list[Path] = []
    labels: list[int] = []
    for of_class in _subfolders(folder):
        if of_class.name not in class_names:
            raise ValueError(f"{of_class}: expected a class of train ({', '.join(class_names)}), got another; rename or remove the folder")
        images = sorted(file for file in of_class.iterdir() if file.suffix.lower() in _IMAGE_ENDINGS and not file.name.startswith("."))
        if not images:
            endings = ", ".join(sorted(_IMAGE_ENDINGS))
            raise ValueError(f"{of_class}: expected images ({endings}), found none; add some or remove the folder")
        files += images
        labels += [class_names.index(of_class.name)] * len(images)
    return SourceSplit(
        torch.tensor(labels),
        lambda rows: _decode_all([(str(files[row]), partial(read_encoded, files[row])) for row in rows.tolist()], image_size),
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_datasets(config: DataConfig) -> ImageSource:
    # Imported here because the library takes seconds to load.
    import datasets

    # Imported here, as below, because the library takes seconds to load.
    from seqrl.tasks.image_datasets import open_splits

    opened = open_splits(config.path, (config.image_column, config.label_column), "image_column and label_column")
    splits = {ours: rows for ours, (_, rows) in opened.items()}
    expected = splits["train"].features[config.label_column]
    for name, rows in splits.items():
        kind = rows.features[config.label_column]
        if kind != expected or not isinstance(kind, datasets.ClassLabel | datasets.Value) or kind.dtype.startswith("float"):
            raise ValueError(
                f"{config.path}, {name}: expected classes, numbers or names, in the column {config.label_column!r}, the same in "
                f"every split, got {kind}, and in train {expected}; set label_column or cast the column"
            )
    if isinstance(expected, datasets.ClassLabel):
        classes, class_names = list(range(len(expected.names))), list(expected.names)
    else:
        classes = sorted(set(splits["train"][config.label_column]) - {None})
        class_names = [str(label) for label in classes]
    numbers = {label: number for number, label in enumerate(classes)}
    parts = {name: _read_columns(config, f"{config.path}, {name}", rows, numbers) for name, rows in splits.items()}
    return ImageSource(parts, class_names, {"dev": config.num_dev})


def _read_columns(config: DataConfig, where: str, rows: Any, numbers: dict[Any, int]) -> SourceSplit:
    from seqrl.tasks.image_datasets import ImageColumn

    labels = list(rows[config.label_column])
    for row, label in enumerate(labels):
        if label not in numbers:
            known = ", ".join(map(str, list(numbers)[:10])) + (", ..." if len(numbers) > 10 else "")
            raise ValueError(f"{where}, row {row}: expected a class of train ({known}), got {label!r}; correct or remove the row")
    images = ImageColumn(rows, config.image_column, where)

    def read_chosen(chosen: Tensor) -> Tensor:
        return _decode_all([(images.describe(row), partial(images.read, row)) for row in chosen.tolist()], config.image_size)

    return SourceSplit(torch.tensor([numbers[label] for label in labels], dtype=torch.int64), read_chosen)


def _decode_all(encoded: Sequence[tuple[str, Callable[[], bytes]]], image_size: int) -> Tensor:
    """Decode images, each given by where it is and what reads it, to uint8 [N, image_size, image_size]."""
    images = np.zeros((len(encoded), image_size, image_size), dtype=np.uint8)
    for image, (where, read) in zip(images, encoded, strict=True):
        image[:] = np.asarray(_decode(where, read).resize((image_size, image_size), Image.Resampling.BILINEAR))
    return torch.from_numpy(images)


def _decode(where: str, read: Callable[[], bytes]) -> Image.Image:
    try:
        return decode_picture(read(), "L")
    except ValueError as error:
        raise ValueError(f"{where}: expected an image, but {error}; repair or remove it") from error
