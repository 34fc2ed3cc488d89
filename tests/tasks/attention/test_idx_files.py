from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqrl.tasks.attention.idx_files import read_idx, read_mnist

MNIST = Path(os.environ.get("SEQRL_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "mnist"
SIZES = (2, 3, 4)
ELEMENTS = bytes(range(24))


def idx(elements: bytes = ELEMENTS, sizes: tuple[int, ...] = SIZES, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes) + elements


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("sizes", [(24,), (4, 6), SIZES, (2, 3, 2, 2), (1, 2, 3, 2, 2)], ids=str)
def test_elements_and_sizes(sizes: tuple[int, ...], pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pack(idx(sizes=sizes)))
    array = read_idx(tmp_path / "file")
    assert array.dtype == np.uint8 and array.shape == sizes and array.flags.writeable
    # Row-major: the last index runs fastest.
    for number, index in enumerate(np.ndindex(sizes)):
        assert array[index] == number


TYPES = {9: ">b", 11: ">h", 12: ">i", 13: ">f", 14: ">d"}


@pytest.mark.parametrize("kind", TYPES)
def test_elements_of_every_type_and_images_of_them(kind: int, tmp_path: Path) -> None:
    numbers = [0, 1, 5, 100, 127, 64]
    elements = b"".join(struct.pack(TYPES[kind], number) for number in numbers)
    (tmp_path / "file").write_bytes(idx(elements, (1, 2, 3), kind))
    array = read_idx(tmp_path / "file")
    assert array.flatten().tolist() == numbers and array.dtype.isnative and array.dtype.itemsize == struct.calcsize(TYPES[kind])
    write_mnist(tmp_path, train_images_idx3_ubyte=(tmp_path / "file").read_bytes(), train_labels_idx1_ubyte=idx(b"\0\0\0\7", (1,), 12))
    images, labels = read_mnist(tmp_path)["train"]
    assert images.dtype == np.uint8 and images.flatten().tolist() == numbers and labels.tolist() == [7]


def test_grey_levels_of_16_bits_and_of_real_numbers(tmp_path: Path) -> None:
    labels = idx(b"\1", (1,))
    for kind, numbers, expected in (
        (12, [0, 257, 65535, 32768], [0, 1, 255, 128]),
        (13, [0.0, 0.5, 1.0, 0.25], [0, 128, 255, 64]),
        (14, [0.0, 0.5, 255.0, 2.5], [0, 0, 255, 2]),
    ):
        elements = b"".join(struct.pack(TYPES[kind], number) for number in numbers)
        write_mnist(tmp_path, train_images_idx3_ubyte=idx(elements, (1, 2, 2), kind), train_labels_idx1_ubyte=labels)
        assert read_mnist(tmp_path)["train"][0].flatten().tolist() == expected
    for kind, numbers in ((11, [-1, 3]), (12, [0, 70_000]), (13, [0.0, 256.0]), (14, [0.0, float("nan")])):
        elements = b"".join(struct.pack(TYPES[kind], number) for number in numbers)
        write_mnist(tmp_path, train_images_idx3_ubyte=idx(elements, (1, 1, 2), kind), train_labels_idx1_ubyte=labels)
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: expected grey levels from 0 to 255, .* got .*; convert the file"):
            read_mnist(tmp_path)
    write_mnist(tmp_path, train_labels_idx1_ubyte=idx(struct.pack(">ff", 1, 2), (2,), 13))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: expected labels, whole numbers, got float32"):
        read_mnist(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(PACKED)
    with pytest.raises(ValueError, match="got train-images-idx3-ubyte and train-images-idx3-ubyte.gz; remove all but one"):
        read_mnist(tmp_path)


def test_an_array_longer_than_one_read(tmp_path: Path) -> None:
    elements = np.random.default_rng(0).integers(0, 256, 2_500_000, dtype=np.uint8).tobytes()
    for name, data in (("plain", idx(elements, (2, 1_250_000))), ("packed", gzip.compress(idx(elements, (2, 1_250_000)), 1))):
        (tmp_path / name).write_bytes(data)
        assert read_idx(str(tmp_path / name)).tobytes() == elements


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


PACKED = gzip.compress(idx())
BROKEN = {
    "empty": (b"", "expected an IDX file, which starts with the bytes 00 00, the type (08 for bytes) and the number of dimensions, got an"),
    "a page": (b"<!doctype html>", "got 3c 21 64 6f; download the file again or correct the path"),
    "no dimension": (b"\0\0\x08\0", "got 00 00 08 00"),
    "unknown type": (idx(kind=10), "got 00 00 0a 03"),
    "floats, cut short": (idx(kind=13), "expected 96 bytes (2 x 3 x 4) after the header, got fewer than 40; download the file again"),
    "half a header": (idx()[:9], "expected a header with 3 sizes, got 5 bytes of them; download the file again"),
    "no image": (idx(b"", (0, 28, 28)), "expected at least one element, got the sizes 0 x 28 x 28"),
    "cut short": (idx()[:-1], "expected 24 bytes (2 x 3 x 4) after the header, got 23; download the file again"),
    "cut short, then packed": (gzip.compress(idx()[:-5]), "expected 24 bytes (2 x 3 x 4) after the header, got 19"),
    "goes on": (idx() + b"\0", "expected 24 bytes (2 x 3 x 4) after the header, got more"),
    "goes on, then packed": (gzip.compress(idx() + b"\0"), "expected 24 bytes (2 x 3 x 4) after the header, got more"),
    "four terabytes": (idx(sizes=(2**32 - 1, 1024)), "expected 4398046510080 bytes (4294967295 x 1024) after the header, got fewer than"),
    "terabytes, packed": (gzip.compress(idx(sizes=(2**32 - 1,) * 3)), "after the header, got fewer than"),
    "many dimensions": (idx(b"", (1,) * 65), "got 00 00 08 41"),
    "packed, cut in the header": (PACKED[:12], "expected a whole gzip file, got a damaged one ("),
    "packed, cut in the data": (PACKED[:-12], "expected a whole gzip file, got a damaged one ("),
    "packed, wrong checksum": (flipped(PACKED, -8 + len(PACKED)), "expected a whole gzip file, got a damaged one (CRC check failed"),
    "packed, wrong data": (flipped(PACKED, 11), "expected a whole gzip file, got a damaged one ("),
    "packed, junk behind": (PACKED + b"junk", "expected a whole gzip file, got a damaged one ("),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name: str, tmp_path: Path) -> None:
    data, said = BROKEN[name]
    path = tmp_path / "images.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError) as raised:
        read_idx(path)
    assert str(raised.value).startswith(f"{path}: ") and said in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="expected an IDX file, found no file"):
            read_idx(path)


def write_mnist(folder: Path, **files: bytes) -> None:
    written = {"train-images-idx3-ubyte": idx(), "train-labels-idx1-ubyte": idx(b"\3\1", (2,))}
    written |= {"t10k-images-idx3-ubyte.gz": PACKED, "t10k-labels.idx1-ubyte": idx(b"\0\2", (2,))}
    for name, data in (written | {name.replace("_", "-"): data for name, data in files.items()}).items():
        (folder / name).write_bytes(data)


def test_four_files_packed_or_not_under_either_name(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    read = read_mnist(tmp_path)
    assert {name: (images.shape, labels.tolist()) for name, (images, labels) in read.items()} == {
        "train": (SIZES, [3, 1]),
        "test": (SIZES, [0, 2]),
    }


def test_four_files_that_do_not_belong_together(tmp_path: Path) -> None:
    write_mnist(tmp_path, train_labels_idx1_ubyte=idx(b"\3\1\2", (3,)))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: expected 2 labels, one for each image of train-images-.*, got 3; take"):
        read_mnist(tmp_path)
    write_mnist(tmp_path, train_images_idx3_ubyte=idx(sizes=(2, 2, 2, 3)))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte: expected grey images, N x H x W, got 2 x 2 x 2 x 3; use"):
        read_mnist(tmp_path)
    write_mnist(tmp_path, train_labels_idx1_ubyte=idx())
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: expected labels, N, got 2 x 3 x 4; use a file with 1 dimension$"):
        read_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected one of train-labels-idx1-ubyte, train-labels-idx1-ubyte.gz, .* found none"):
        read_mnist(tmp_path)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"needs the folder {MNIST}; set SEQRL_DATA to the folder that holds mnist/")
def test_mnist() -> None:
    read = read_mnist(MNIST)
    assert read["train"][0].shape == (60_000, 28, 28) and read["test"][0].shape == (10_000, 28, 28)
    assert read["train"][1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert read["test"][1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # How often each digit comes, as published.
    assert np.bincount(read["train"][1]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(read["test"][1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean and standard deviation of the training images that everybody normalises by.
    pixels = read["train"][0].reshape(-1)
    mean, mean_square = pixels.sum(dtype=np.int64) / pixels.size, np.square(pixels, dtype=np.uint16).sum(dtype=np.int64) / pixels.size
    assert mean / 255 == pytest.approx(0.1307, abs=5e-5)
    assert (mean_square - mean**2) ** 0.5 / 255 == pytest.approx(0.3081, abs=5e-5)
