"""One set of image files through every source of images: the same pixels come out, or the same refusal."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.tasks.attention.data_config import DataConfig
from seqrl.tasks.attention.image_sources import open_source
from seqrl.tasks.captioning.image_stores import FolderStore, ZipStore
from seqrl.tasks.captioning.images import load_images

SIDE = 16
GREY = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
COLOUR = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def deep_png(grey: np.ndarray) -> bytes:
    """A PNG of 16 bits a pixel, written by hand: big-endian rows behind a filter byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned(pixels: np.ndarray) -> bytes:
    """A picture whose camera was held so that it has to be turned by 90 degrees clockwise (orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(np.rot90(pixels).copy()), "PNG", exif=exif)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """Luma of ITU-R 601-2, as Pillow documents it."""
    return (rgb @ np.array([0.299, 0.587, 0.114])).astype(np.float64)


CLEAR = np.dstack([COLOUR, np.where(GREY % 3 == 0, 0, 255).astype(np.uint8)])
PALETTE = Image.fromarray(GREY % 7, "P")
PALETTE.putpalette([value for index in range(7) for value in (30 * index, 200 - 20 * index, 7 * index)])
PALETTE_COLOURS = np.stack([30 * (GREY % 7), 200 - 20 * (GREY % 7), 7 * (GREY % 7)], axis=2).astype(np.uint8)
FRAMES = [Image.fromarray(np.full((SIDE, SIDE), shade, dtype=np.uint8)) for shade in (40, 200)]
WHOLE = saved(Image.fromarray(COLOUR))

# What is in the file, and the colours that should come out.
FILES: dict[str, tuple[bytes, np.ndarray]] = {
    "grey": (saved(Image.fromarray(GREY)), np.dstack([GREY] * 3)),
    "one bit": (saved(Image.fromarray(GREY % 2 == 0)), np.dstack([np.where(GREY % 2 == 0, 255, 0)] * 3)),
    "grey, 16 bits": (deep_png(GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3)),
    "grey, 16 bits, dark": (deep_png(np.full((SIDE, SIDE), 4000, np.uint16)), np.full((SIDE, SIDE, 3), 16)),
    "grey, 16 bits, TIFF": (saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"), np.dstack([GREY] * 3)),
    "grey, real": (saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"), np.dstack([GREY] * 3)),
    "grey, 32 bits": (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), np.dstack([GREY] * 3)),
    "colour": (WHOLE, COLOUR),
    "palette": (saved(PALETTE), PALETTE_COLOURS),
    "palette, clear": (
        saved(PALETTE, transparency=0),
        np.where((GREY % 7 == 0)[..., None], 255, PALETTE_COLOURS),
    ),
    "alpha": (saved(Image.fromarray(CLEAR)), np.where(CLEAR[..., 3:] == 0, 255, COLOUR)),
    "grey with alpha": (
        saved(Image.fromarray(np.dstack([np.zeros_like(GREY), GREY]), "LA")),
        np.dstack([255 - GREY] * 3),
    ),
    "printer's colours": (
        saved(Image.fromarray(np.dstack([255 - COLOUR, np.zeros_like(GREY)]), "CMYK"), "TIFF"),
        COLOUR,
    ),
    "turned": (turned(COLOUR), COLOUR),
    "animated": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), np.full((SIDE, SIDE, 3), 40)),
    "several pages": (saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), np.full((SIDE, SIDE, 3), 40)),
}
BROKEN = {
    "cut short": (WHOLE[: len(WHOLE) // 2], "it does not decode"),
    "empty": (b"", "it is in none of the formats that are read"),
    "a page": (b"<!doctype html>", "it is in none of the formats that are read"),
    "too bright": (saved(Image.fromarray(np.full((SIDE, SIDE), 70_000, np.int32)), "TIFF"), "expected grey levels from 0 to 255"),
}


def captioning_folder(folder: Path, data: bytes) -> np.ndarray:
    (folder / "picture").write_bytes(data)
    return load_images(FolderStore(folder), ["picture"], SIDE)[0][0].transpose(1, 2, 0)


def captioning_zip(folder: Path, data: bytes) -> np.ndarray:
    with zipfile.ZipFile(folder / "images.zip", "w") as file:
        file.writestr("inside/picture", data)
    return load_images(ZipStore(folder / "images.zip"), ["picture"], SIDE)[0][0].transpose(1, 2, 0)


def save_dataset(folder: Path, data: bytes) -> str:
    import datasets

    columns = {"image": [{"bytes": data, "path": None}] * 2, "captions": [["a"], ["b"]], "label": [0, 1]}
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": rows}).save_to_disk(str(folder / "saved"))
    return str(folder / "saved")


def captioning_datasets(folder: Path, data: bytes) -> np.ndarray:
    from seqrl.tasks.captioning.photographs import read_dataset

    found = read_dataset(save_dataset(folder, data), "image", "captions")
    images, _ = load_images(found.stores["train"], [record.file_name for record in found.records["train"]], SIDE)
    return images[1].transpose(1, 2, 0)


def attention_datasets(folder: Path, data: bytes) -> np.ndarray:
    source = open_source(DataConfig(source="datasets", path=save_dataset(folder, data), image_size=SIDE, num_dev=1))
    return source.splits["train"].read(torch.tensor([1]))[0].numpy()


def attention_folder(folder: Path, data: bytes) -> np.ndarray:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "picture.png").write_bytes(data)
    source = open_source(DataConfig(source="folder", path=str(folder), image_size=SIDE))
    return source.splits["train"].read(torch.tensor([1]))[0].numpy()


SOURCES: list[Callable[[Path, bytes], np.ndarray]] = [
    captioning_folder,
    captioning_zip,
    captioning_datasets,
    attention_folder,
    attention_datasets,
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.parametrize("name", FILES)
def test_every_source_shows_the_same(name: str, source: Callable[[Path, bytes], np.ndarray], tmp_path: Path) -> None:
    data, expected = FILES[name]
    folder = tmp_path / "data"
    folder.mkdir()
    shown = source(folder, data).astype(np.float64)
    wanted = expected if shown.ndim == 3 else grey_of(expected)
    assert np.abs(shown - wanted).max() <= (1 if name == "grey with alpha" or shown.ndim == 2 else 0)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.parametrize("name", BROKEN)
def test_every_source_refuses_the_same(name: str, source: Callable[[Path, bytes], np.ndarray], tmp_path: Path) -> None:
    data, said = BROKEN[name]
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(ValueError, match=f"expected an image, but .*{said}") as raised:
        source(folder, data)
    assert str(folder) in str(raised.value)


def test_two_splits_or_folders_of_one_meaning_are_refused_with_both(tmp_path: Path) -> None:
    import datasets

    for name in ("train/a", "train/b", "val/a", "val/b", "validation/a", "validation/b"):
        (tmp_path / "folders" / name).mkdir(parents=True)
    with pytest.raises(
        ValueError, match="expected train and perhaps dev and test, or one folder a class, got train, val, validation; rename or move"
    ):
        open_source(DataConfig(source="folder", path=str(tmp_path / "folders"), image_size=SIDE))
    from seqrl.tasks.captioning.photographs import read_dataset

    rows = datasets.Dataset.from_dict({"image": ["x"], "captions": [["a"]], "label": [0]})
    datasets.DatasetDict({"train": rows, "val": rows, "validation": rows}).save_to_disk(str(tmp_path / "saved"))
    for opened in (
        lambda: read_dataset(str(tmp_path / "saved"), "image", "captions"),
        lambda: open_source(DataConfig(source="datasets", path=str(tmp_path / "saved"), image_size=SIDE, num_dev=1)),
    ):
        with pytest.raises(ValueError, match="expected one split that means dev, got val and validation; rename or remove one"):
            opened()
