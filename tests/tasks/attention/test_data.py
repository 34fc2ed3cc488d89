from __future__ import annotations

import gzip
import io
import math
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from seqrl.tasks.attention import image_sources
from seqrl.tasks.attention.data import AttentionData, DataConfig, ImageSplit, load_data
from seqrl.tasks.attention.placing import Placement, resized

MNIST = Path(os.environ.get("SEQRL_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"needs the folder {MNIST}; set SEQRL_DATA to the folder that holds mnist/")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(shade: int, mode: str = "L", size: tuple[int, int] = (6, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, shade).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def parts(data: AttentionData) -> tuple[ImageSplit, ImageSplit, ImageSplit]:
    return data.train, data.dev, data.test


def rows(split: ImageSplit) -> list[tuple[int, int]]:
    """The shade and the class of images that have one shade each."""
    assert all(image.unique().numel() == 1 for image in split.images)
    return list(zip(split.images[:, 0, 0].tolist(), split.labels.tolist(), strict=True))


def test_digits_are_the_library_s_enlarged() -> None:
    data = load_data(DataConfig())
    assert [len(split) for split in parts(data)] == [1300, 247, 250]
    assert data.class_names == list("0123456789") and data.placement.canvas_size == 28
    digits, images, labels = load_digits(), torch.cat([split.images for split in parts(data)]), torch.cat([s.labels for s in parts(data)])
    for digit in range(10):
        # Another implementation of bilinear interpolation.
        small = [Image.fromarray((image * (255 / 16)).astype(np.float32)) for image in digits.images[digits.target == digit]]
        expected = torch.stack([torch.tensor(np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR))) for image in small]).flatten(1)
        distance = torch.cdist(images[labels == digit].float().flatten(1), expected, p=float("inf"))
        # Each image is one of the library's, up to rounding, and each of the library's is there.
        assert distance.min(dim=1).values.max() < 0.51
        assert sorted(distance.argmin(dim=1).tolist()) == list(range(len(small)))


def test_digits_are_split_alike_in_every_run_and_max_images_keeps_the_first() -> None:
    whole, again, few = load_data(DataConfig()), load_data(DataConfig()), load_data(DataConfig(max_images=40))
    for split, other in zip(parts(whole), parts(again), strict=True):
        assert torch.equal(split.images, other.images) and torch.equal(split.labels, other.labels)
    assert torch.equal(few.train.images, whole.train.images[:40]) and set(few.train.labels.tolist()) == set(range(10))
    assert torch.equal(few.dev.images, whole.dev.images) and torch.equal(few.test.images, whole.test.images)


@pytest.mark.parametrize("placement", ["centred", "translated", "cluttered", "pair"])
def test_batches_are_new_and_placed_splits_are_not(placement: Any) -> None:
    config = DataConfig(image_size=8, placement=placement, canvas_size=0 if placement == "centred" else 20)
    config = DataConfig(**{**vars(config), **({"clutter_size": 3} if placement == "cluttered" else {})})
    data, other = load_data(config), load_data(config)
    items, stream = torch.arange(100), generator()
    images, labels = data.batch(items, stream)
    side = data.placement.canvas_size
    assert data.placement.canvas_size == (8 if placement == "centred" else 20)
    assert images.shape == (100, side, side) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert labels.shape == (100, config.num_objects) == (100, 2 if placement == "pair" else 1)
    assert (labels == data.train.labels[:100, None]).any(dim=1).all()
    assert torch.equal(images, other.batch(items, generator())[0])
    assert torch.equal(images, data.batch(items, stream)[0]) == (placement == "centred")
    for name, split in (("dev", data.dev), ("test", data.test)):
        images, labels = data.placed(name)
        assert images.shape == (len(split), side, side) and labels.shape == (len(split), config.num_objects)
        assert (labels == split.labels[:, None]).any(dim=1).all()
        assert data.placed(name)[0] is images
        assert torch.equal(other.placed(name)[0], images) and torch.equal(other.placed(name)[1], labels)


def test_training_images_are_shown_at_other_sizes_and_others_are_not() -> None:
    config = DataConfig(image_size=12, placement="translated", canvas_size=30, scale_augmentation=1.5)
    data, plain = load_data(config), load_data(DataConfig(image_size=12, placement="translated", canvas_size=30))
    drawn = data._heights(20_000, generator())
    assert drawn is not None and plain._heights(5, generator()) is None
    assert set(drawn.tolist()) == set(range(8, 19))  # 12 / 1.5 to 12 * 1.5
    # Equally likely on a logarithmic scale: half of them below 12, and log(11.5 / 9.5) / log(2.25) of them are 10 or 11.
    assert abs((drawn < 12).float().mean() - 0.5 + 0.5 * math.log(12 / 11.5) / math.log(1.5)) < 0.015
    assert abs(((drawn == 10) | (drawn == 11)).float().mean() - math.log(11.5 / 9.5) / math.log(2.25)) < 0.015
    items, stream = torch.arange(200), generator()
    images, labels = data.batch(items, stream)
    assert torch.equal(labels[:, 0], data.train.labels[:200])
    assert torch.equal(images, load_data(config).batch(items, generator())[0]) and not torch.equal(images, data.batch(items, stream)[0])
    tall = (images.amax(dim=2) > 0).sum(dim=1)  # rows that something is seen in
    assert tall.max() > 14 and tall.min() < 9
    for split in ("dev", "test"):
        assert torch.equal(data.placed(split)[0], plain.placed(split)[0])


def test_all_images_may_be_shown_at_another_size() -> None:
    data, larger = load_data(DataConfig(image_size=12)), load_data(DataConfig(image_size=12, shown_size=18))
    assert larger.placement.canvas_size == 18 and larger.test.images.shape == (250, 18, 18)
    assert torch.equal(larger.test.images, resized(data.test.images, 18)) and torch.equal(larger.test.labels, data.test.labels)


def test_clutter_and_pairs_come_from_the_same_split() -> None:
    # An image's shade tells its split, and its last digit the class.
    def split(name: str, first: int) -> ImageSplit:
        shade = torch.arange(first, first + 50, dtype=torch.uint8)
        return ImageSplit(name, shade.view(-1, 1, 1).expand(-1, 4, 4).contiguous(), shade.long() % 10)

    shades = {"train": range(50, 100), "dev": range(100, 150), "test": range(150, 200)}
    for kind in ("cluttered", "pair"):
        splits = {name: split(name, part[0]) for name, part in shades.items()}
        data = AttentionData(**splits, class_names=list("0123456789"), placement=Placement(kind, 12, 4, 2, "brightest"))  # type: ignore[arg-type]
        seen = {"train": data.batch(torch.arange(50), generator()), "dev": data.placed("dev"), "test": data.placed("test")}
        for name, (images, labels) in seen.items():
            assert set(images.unique().tolist()) <= {0, *shades[name]}
            assert len(images.unique()) > 25
            if kind == "pair":
                for image, row in zip(images, labels.tolist(), strict=True):
                    where = {int(shade): int((image == shade).any(dim=0).nonzero()[0]) for shade in image.unique() if shade}
                    assert row == [shade % 10 for shade in sorted(where, key=where.__getitem__)]


@needs_mnist
def test_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS", str(MNIST))
    data = load_data(DataConfig(source="mnist", path="$DIGITS", placement="cluttered", canvas_size=60))
    assert [len(split) for split in parts(data)] == [55_000, 5_000, 10_000]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    pixels = np.frombuffer(gzip.decompress((MNIST / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], dtype=np.uint8)
    assert data.test.images.flatten().numpy().tobytes() == pixels.tobytes()
    # Train and dev are together the training file: as many images of each class, and the same sum of pixels.
    labels = np.frombuffer(gzip.decompress((MNIST / "train-labels-idx1-ubyte.gz").read_bytes())[8:], dtype=np.uint8)
    pixels = np.frombuffer(gzip.decompress((MNIST / "train-images-idx3-ubyte.gz").read_bytes())[16:], dtype=np.uint8).reshape(-1, 784)
    expected = Counter(zip(pixels.sum(axis=1, dtype=np.int64).tolist(), labels.tolist(), strict=True))
    found: Counter[tuple[int, int]] = Counter()
    for split in (data.train, data.dev):
        found.update(zip(split.images.numpy().sum(axis=(1, 2), dtype=np.int64).tolist(), split.labels.tolist(), strict=True))
    assert found == expected
    images, label = data.placed("dev")
    assert images.shape == (5_000, 60, 60) and torch.equal(label, data.dev.labels.unsqueeze(1))


def idx(sizes: tuple[int, ...], elements: bytes) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes) + elements


def write_mnist(folder: Path, labels: bytes = bytes(range(10)), size: int = 28) -> DataConfig:
    pixels = b"".join(bytes([shade]) * size * size for shade in range(1, 11))
    for name in ("train", "t10k"):
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx((10, size, size), pixels))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx((len(labels),), labels))
    return DataConfig(source="mnist", path=str(folder), num_dev=3)


def test_mnist_s_files_hold_out_dev(tmp_path: Path) -> None:
    data = load_data(write_mnist(tmp_path))
    assert [len(split) for split in parts(data)] == [7, 3, 10]
    assert sorted(rows(data.train) + rows(data.dev)) == rows(data.test) == [(label + 1, label) for label in range(10)]


def test_mnist_s_files_when_wrong(tmp_path: Path) -> None:
    config = write_mnist(tmp_path, labels=bytes([0, 1, 2, 10, 4, 5, 6, 7, 8, 9]))
    with pytest.raises(ValueError, match="train: expected labels from 0 to 9, one of 10 classes, got 10 for image 3; correct the labels"):
        load_data(config)
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: expected 10 labels, one for each image of .*, got 11; take both"):
        load_data(write_mnist(tmp_path, labels=bytes(11)))
    with pytest.raises(ValueError, match="expected images of 28x28 pixels, got 32x32; set image_size"):
        load_data(write_mnist(tmp_path, size=32))
    config = write_mnist(tmp_path)
    config.num_dev = 10
    with pytest.raises(ValueError, match="dev: expected fewer images to hold out than the 10 training images, got 10; set num_dev"):
        load_data(config)
    config.num_dev = 0
    with pytest.raises(ValueError, match="dev: expected at least one image, got none"):
        load_data(config)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="expected one of t10k-labels-idx1-ubyte, .* found none"):
        load_data(config)


def write_folder(root: Path, shades: dict[str, list[int]]) -> DataConfig:
    for name, of_class in shades.items():
        (root / name).mkdir(parents=True)
        (root / name / "notes.txt").write_text("not an image")
        for shade in of_class:
            (root / name / f"{shade:03d}.png").write_bytes(picture(shade))
    return DataConfig(source="folder", path=str(root), image_size=4)


def test_folder_with_a_folder_a_class(tmp_path: Path) -> None:
    config = write_folder(tmp_path / "root", {"dog": list(range(100, 120)), "cat": list(range(20))})
    (tmp_path / "root" / ".hidden").mkdir()
    data = load_data(config)
    assert data.class_names == ["cat", "dog"] and data.train.images.shape == (32, 4, 4)
    found = [rows(split) for split in parts(data)]
    assert [len(split) for split in found] == [32, 4, 4]
    assert sorted(sum(found, [])) == [(shade, 0) for shade in range(20)] + [(shade, 1) for shade in range(100, 120)]
    assert [rows(split) for split in parts(load_data(config))] == found
    few = load_data(DataConfig(**{**vars(config), "max_images": 8}))
    assert rows(few.train) == found[0][:8] and {label for _, label in rows(few.train)} == {0, 1}


def test_folder_with_splits(tmp_path: Path) -> None:
    shades = {"train/a": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "train/b": [11, 12], "test/b": [13], "test/a": [14]}
    data = load_data(write_folder(tmp_path / "two", shades))
    assert rows(data.test) == [(14, 0), (13, 1)] and len(data.dev) == 1
    assert {shade for shade, _ in rows(data.train) + rows(data.dev)} == set(range(1, 13))
    data = load_data(write_folder(tmp_path / "three", {**shades, "val/b": [20]}))
    assert rows(data.dev) == [(20, 1)] and len(data.train) == 12


def test_folder_images_become_grey_squares_of_one_size(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"a": [0, 1], "b": [200, 201]})
    red = Image.new("RGB", (30, 10), (255, 0, 0))
    red.save(tmp_path / "a" / "000.png")
    (tmp_path / "a" / "001.png").write_bytes(picture(77, "RGBA", (3, 9)))
    data = load_data(config)
    # A red of 255 is as bright as a grey of 0.299 * 255, by ITU-R 601.
    assert sorted(sum((rows(split) for split in parts(data)), [])) == [(76, 0), (77, 0), (200, 1), (201, 1)]


FOLDERS = {
    "one class": ({"a": [1, 2]}, "expected at least 2 folders, one a class, got a; sort the images"),
    "no class": ({"": [1, 2]}, "expected at least 2 folders, one a class, got none"),
    "a class without images": ({"a": [1, 2], "b": []}, "b: expected images (.bmp, .gif, "),
    "a class that train lacks": ({"train/a": [1], "train/b": [2], "test/c": [3]}, "c: expected a class of train (a, b), got another"),
    "no train": ({"dev/a": [1], "test/a": [2]}, "expected train and perhaps dev and test, or one folder a class, got dev, test"),
    "a strange split": ({"train/a": [1], "train/b": [2], "extra/a": [3]}, "or one folder a class, got extra, train; rename"),
    "two images": ({"a": [1], "b": [2]}, "test: expected fewer images to hold out than the 1 training images, got 1; add images"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_are_wrong(name: str, tmp_path: Path) -> None:
    shades, said = FOLDERS[name]
    with pytest.raises(ValueError) as raised:
        load_data(write_folder(tmp_path / "root", shades))
    assert said in str(raised.value)


def test_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    config = write_folder(tmp_path, {"a": [1, 2, 3], "b": [4, 5, 6]})
    path = tmp_path / "b" / "005.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    noise.save(path)
    bright = Image.fromarray(np.full((6, 6), 4000.0, dtype=np.float32))
    for data, said in (
        (
            b"no image",
            "expected an image, but it is in none of the formats that are read (PNG, JPEG,",
        ),
        (path.read_bytes()[:2000], "expected an image, but it does not decode (image file is truncated"),
        (None, "expected an image, but it does not decode (expected grey levels from 0 to 255"),
    ):
        if data is None:
            bright.save(path, "TIFF")
        else:
            path.write_bytes(data)
        with pytest.raises(ValueError) as raised:
            load_data(config)
        assert str(raised.value).startswith(f"{path}: {said}")


def save_dataset(path: Path, splits: dict[str, list[tuple[int, Any]]], feature: Any = None) -> DataConfig:
    import datasets

    saved = {}
    for name, pairs in splits.items():
        columns = {"picture": [{"bytes": picture(shade), "path": None} for shade, _ in pairs], "class": [label for _, label in pairs]}
        saved[name] = datasets.Dataset.from_dict(columns).cast_column("picture", datasets.Image())
        if feature is not None:
            saved[name] = saved[name].cast_column("class", feature)
    datasets.DatasetDict(saved).save_to_disk(str(path))
    return DataConfig(source="datasets", path=str(path), image_column="picture", label_column="class", image_size=4, num_dev=2)


def test_datasets_saved_to_disk(tmp_path: Path) -> None:
    import datasets

    train = [(10 * number, number % 3) for number in range(9)]
    config = save_dataset(tmp_path / "numbers", {"train": train, "test": [(100, 2), (110, 0)]}, datasets.ClassLabel(names=["x", "y", "z"]))
    data = load_data(config)
    assert data.class_names == ["x", "y", "z"] and data.train.images.shape == (7, 4, 4)
    assert len(data.dev) == 2 and sorted(rows(data.train) + rows(data.dev)) == train and rows(data.test) == [(100, 2), (110, 0)]
    # Names of classes as they are, a dev split of its own, no test split, and one training image kept.
    config = save_dataset(tmp_path / "names", {"train": [(1, "dog"), (2, "cat"), (3, "dog")], "validation": [(4, "dog")]})
    data = load_data(config)
    assert data.class_names == ["cat", "dog"] and sorted(rows(data.train)) == [(1, 1), (2, 0), (3, 1)] and rows(data.dev) == [(4, 1)]
    with pytest.raises(ValueError, match="test: the data has no test images; add some, or evaluate on dev"):
        data.placed("test")
    config.max_images = 1
    assert rows(load_data(config).train) == rows(data.train)[:1]


def test_datasets_folder_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_folder(tmp_path / "root", {"train/a": [1, 2], "train/b": [3, 4], "test/a": [5], "test/b": [6]})
    for file in (tmp_path / "root").rglob("notes.txt"):
        file.unlink()
    data = load_data(DataConfig(source="datasets", path=str(tmp_path / "root"), image_size=4, num_dev=1))
    assert data.class_names == ["a", "b"] and rows(data.test) == [(5, 0), (6, 1)]
    assert sorted(rows(data.train) + rows(data.dev)) == [(1, 0), (2, 0), (3, 1), (4, 1)]


def test_datasets_that_are_wrong(tmp_path: Path) -> None:
    import datasets

    classes = datasets.ClassLabel(names=["x", "y"])
    good = [(1, 0), (2, 1), (3, 1)]

    def said(config: DataConfig, **changes: Any) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as raised:
            load_data(DataConfig(**{**vars(config), **changes}))
        return str(raised.value)

    config = save_dataset(tmp_path / "good", {"train": good, "test": good}, classes)
    assert "good, train: expected a column 'image', got picture, class; set image_column and label_column" in said(
        config, image_column="image"
    )
    assert "expected classes, numbers or names, in the column 'picture'" in said(config, label_column="picture")
    assert "expected images in the column 'class', got ClassLabel" in said(config, image_column="class")
    assert "dev: expected fewer images to hold out than the 3 training images, got 5000; set num_dev" in said(config, num_dev=5000)
    assert "expected a `datasets` name or folder, found neither" in said(config, path=str(tmp_path / "absent"))
    config = save_dataset(tmp_path / "split", {"train": good, "unlabelled": good}, classes)
    assert "expected the splits train and perhaps dev and test (among train, training, restval, dev, val," in said(config)
    config = save_dataset(tmp_path / "unlabelled", {"train": good, "test": [(1, 0), (2, -1)]}, classes)
    assert "unlabelled, test, row 1: expected a class of train (0, 1), got -1; correct or remove the row" in said(config)
    config = save_dataset(tmp_path / "floats", {"train": [(1, 0.5), (2, 1.5)]})
    assert "expected classes, numbers or names, in the column 'class'" in said(config)
    config = save_dataset(tmp_path / "one", {"train": [(1, "a"), (2, "a"), (3, "a")]})
    assert "expected at least 2 classes, got 1 (a)" in said(config)


CONFIGS = {
    "no such source": ({"source": "cifar"}, "source: expected one of digits, mnist, datasets, folder, got 'cifar'"),
    "no such placement": ({"placement": "left"}, "placement: expected one of centred, translated, cluttered, pair, got 'left'"),
    "no canvas": (
        {"placement": "translated"},
        "canvas_size: placement translated needs the side of the canvas in pixels, 28 or more, got 0; set canvas_size, typically 60 or 100",
    ),
    "small canvas": ({"canvas_size": 20}, "canvas_size: expected at least the size of the images, 28, got 20"),
    "no room for two": ({"placement": "pair", "canvas_size": 50}, "canvas_size: expected at least 56, twice the size"),
    "large clutter": ({"placement": "cluttered", "canvas_size": 60, "clutter_size": 30}, "clutter_size: expected at most the size"),
    "negative number": ({"max_images": -1}, "max_images: expected 0 or more, got -1"),
    "no size": ({"image_size": 0}, "image_size: expected at least 1, got 0"),
    "no path": ({"source": "mnist"}, "path: expected where the data of source mnist is, got nothing; set `path`"),
    "path of digits": (
        {"path": "/data"},
        "path: source digits does not read it, it is for mnist, datasets, folder, got",
    ),
    "shown larger than the canvas": (
        {"placement": "translated", "canvas_size": 30, "shown_size": 36},
        "canvas_size: expected at least the size of the images, 36, got 30",
    ),
    "augmented beyond the canvas": (
        {"placement": "translated", "canvas_size": 36, "scale_augmentation": 1.4},
        "scale_augmentation: images of 28 pixels become up to 39 by a factor of 1.4, more than the canvas of 36; set a larger canvas_size",
    ),
    "augmented pairs": (
        {"placement": "pair", "canvas_size": 90, "scale_augmentation": 1.2},
        "scale_augmentation: expected 1 for placement",
    ),
    "augmented to nothing": ({"scale_augmentation": 0.5}, "scale_augmentation: expected a factor of at least 1, got 0.5"),
    "clutter of none": ({"num_clutter": 2}, "num_clutter: placement centred does not read it, it is for cluttered, got 2; leave it out"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_are_refused_before_files_are_read(name: str) -> None:
    settings, said = CONFIGS[name]
    with pytest.raises(ValueError) as raised:
        DataConfig(**settings)  # type: ignore[arg-type]
    assert said in str(raised.value)


@pytest.mark.parametrize("source", ["mnist", "folder"])
def test_folders_that_are_not_there(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_NAME", raising=False)
    with pytest.raises(FileNotFoundError, match="absent: no such folder; set `path`"):
        load_data(DataConfig(source=source, path=str(tmp_path / "absent")))
    with pytest.raises(FileNotFoundError, match="the environment variable NO_SUCH_NAME is not set; set it, or set `path`"):
        load_data(DataConfig(source=source, path="$NO_SUCH_NAME/data"))


def test_splits_whose_parts_do_not_belong_together() -> None:
    images, labels = torch.zeros(4, 6, 6, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"train: expected grey images, uint8 \[N, H, W\], got torch.uint8 \[4, 6, 6, 3\]; turn colours"):
        ImageSplit("train", images.unsqueeze(3).expand(-1, -1, -1, 3), labels)
    with pytest.raises(ValueError, match="expected grey images"):
        ImageSplit("train", images.float(), labels)
    with pytest.raises(ValueError, match=r"expected labels int64 \[N\], got torch.int32"):
        ImageSplit("train", images, labels.int())
    with pytest.raises(ValueError, match="dev: expected a label for each image, got 4 images and 3 labels"):
        ImageSplit("dev", images, labels[:3])
    split, placement = ImageSplit("train", images, labels), Placement("centred", 6, 0, 1)
    with pytest.raises(ValueError, match="test: expected images of 6x6 pixels as in train, got 5x6; resize them"):
        AttentionData(split, split, ImageSplit("test", images[:, 1:], labels), ["x", "y"], placement)
    for strange in (2, -1):
        wrong = ImageSplit("test", images, torch.tensor([0, 1, strange, 1]))
        with pytest.raises(ValueError, match=f"test: expected labels from 0 to 1, one of 2 classes, got {strange} for image 2"):
            AttentionData(split, split, wrong, ["x", "y"], placement)
    with pytest.raises(ValueError, match=r"expected at least 2 classes, got 1 \(x\)"):
        AttentionData(split, split, split, ["x"], placement)
    with pytest.raises(ValueError, match="canvas_size: expected at least the size of the images, 6, got 5"):
        AttentionData(split, split, split, ["x", "y"], Placement("centred", 5, 0, 1))
    with pytest.raises(ValueError, match="split: expected dev or test, got 'train'; training images come from `batch`"):
        AttentionData(split, split, split, ["x", "y"], placement).placed("train")


def test_images_are_not_decoded_before_labels_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(image_sources, "_decode", lambda *_: pytest.fail("decoded an image"))
    config = save_dataset(tmp_path / "one", {"train": [(1, 0), (2, 1), (3, -1)]}, datasets.ClassLabel(names=["x", "y"]))
    with pytest.raises(ValueError, match="train, row 2: expected a class of train"):
        load_data(config)
