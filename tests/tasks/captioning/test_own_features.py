"""Features of one's own: every kind of file that is read goes to its images, and what does not belong is refused by name."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.metrics import limits
from seqrl.tasks.captioning.data import CaptionData, CaptionSplit, DataConfig, load_data
from seqrl.tasks.captioning.feature_files import open_features
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig

NAMES = [f"{index}.jpg" for index in range(6)]
# Six images with three regions of two numbers; whole numbers, which 16 bits hold exactly.
GRID = np.arange(6 * 3 * 2, dtype=np.float32).reshape(6, 3, 2)
COUNTS = [1, 3, 2, 3, 1, 2]
ORDER = [4, 0, 5, 2, 1, 3]  # in which files hold them


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Captions as Flickr8k has them; there are no photographs."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [f"{name}#{k}\tA dog, number {index}, runs .\n" for index, name in enumerate(NAMES) for k in range(2)]
    (folder / "token.txt").write_text("".join(lines))
    for part, names in (("train", NAMES[:3]), ("dev", NAMES[3:])):
        (folder / f"{part}Images.txt").write_text("\n".join(names) + "\n")
    return folder


def load(root: Path, features: str, **settings: Any) -> CaptionData:
    return load_data(DataConfig(source="flickr8k", path=str(root), features=features, **settings))


def write_npy(path: Path, rows: np.ndarray = GRID, names: list[str] | None = None, kind: str = "txt") -> None:
    np.save(path, rows[ORDER])
    named = [(names or NAMES)[index] for index in ORDER]
    Path(f"{path}.names.{kind}").write_text(json.dumps(named) if kind == "json" else "\n".join(named))


def write_npz(path: Path, **settings: Any) -> None:
    np.savez_compressed(path, features=GRID[ORDER].astype(np.float64), names=np.array([NAMES[index] for index in ORDER]), **settings)


def write_npz_by_name(path: Path) -> None:
    np.savez(path, **{NAMES[index]: GRID[index].reshape(1, 3, 2) for index in ORDER})


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = GRID[ORDER].astype(np.float16)
        file["names"] = [NAMES[index] for index in ORDER]


def write_h5_by_name(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for index in ORDER:
            file.create_dataset(NAMES[index], data=GRID[index].reshape(3, 1, 2), compression="gzip")


WHOLE: dict[str, Callable[[Path], None]] = {
    "f.npy": write_npy,
    "f2.npy": lambda path: write_npy(path, GRID.reshape(6, 1, 3, 2), kind="json"),
    "stems.npy": lambda path: write_npy(path, names=[name[:-4] for name in NAMES]),
    "f.npz": write_npz,
    "parts.npz": write_npz_by_name,
    "f.h5": write_h5,
    "parts.hdf5": write_h5_by_name,
}


@pytest.mark.parametrize("name", WHOLE)
def test_grids_go_to_their_images(name: str, root: Path) -> None:
    WHOLE[name](root / name)
    for _ in range(2):  # once made, once mapped
        data = load(root, name, num_test=1)
        assert data.train.image_ids + data.dev.image_ids + data.test.image_ids == NAMES
        for split, wanted in ((data.train, GRID[:3]), (data.dev, GRID[3:5]), (data.test, GRID[5:])):
            assert split.images.dtype == np.float16 and np.array_equal(split.images, wanted)
    assert isinstance(data.train.images, np.memmap)
    assert data.dev.picture(0).shape == (3, 224, 224)  # grey, since there is no photograph


@pytest.mark.parametrize("name", ["f.npy", "parts.npz", "parts.h5"])
def test_one_feature_an_image_is_a_single_region(name: str, root: Path) -> None:
    if name == "f.npy":
        write_npy(root / name, GRID[:, 0])
    elif name == "parts.npz":
        np.savez(root / name, **dict(zip(NAMES, GRID[:, 0], strict=True)))
    else:
        with h5py.File(root / name, "w") as file:
            for image, row in zip(NAMES, GRID[:, 0], strict=True):
                file[image] = row
    assert np.array_equal(load(root, name).train.images, GRID[:3, :1])


def regions(split: CaptionSplit) -> list[np.ndarray]:
    return [rows[mask] for rows, mask in zip(split.images["regions"], split.images["mask"], strict=True)]


@pytest.mark.parametrize("name", ["parts.npz", "parts.h5", "counts.npz", "mask.npz", "mask.h5"])
def test_regions_of_varying_number_have_a_mask(name: str, root: Path) -> None:
    wanted = [GRID[index, :count] for index, count in enumerate(COUNTS)]
    mask = np.arange(3) < np.array(COUNTS)[ORDER, None]
    padded = np.where(mask[:, :, None], GRID[ORDER], np.nan)  # what does not count may be anything
    if name == "parts.npz":
        np.savez(root / name, **dict(zip(NAMES, wanted, strict=True)))
    elif name == "parts.h5":
        with h5py.File(root / name, "w") as file:
            for image, rows in zip(NAMES, wanted, strict=True):
                file[image] = rows
    elif name == "counts.npz":
        np.savez(root / name, features=padded, names=np.array([NAMES[k] for k in ORDER]), counts=np.array(COUNTS)[ORDER])
    elif name == "mask.npz":
        np.savez(root / name, features=padded, names=np.array([NAMES[k] for k in ORDER]), mask=mask)
    else:
        with h5py.File(root / name, "w") as file:
            file["features"], file["names"], file["mask"] = padded, [NAMES[k] for k in ORDER], mask
    data = load(root, name)
    found = regions(data.train) + regions(data.dev)
    assert all(np.array_equal(given, rows) for given, rows in zip(found, wanted, strict=True))
    assert not np.asarray(data.train.images["regions"])[~data.train.images["mask"]].any()


@pytest.mark.parametrize("decoder", ["transformer", "lstm"])
def test_a_task_on_regions_of_varying_number(decoder: str, root: Path) -> None:
    np.savez(root / "f.npz", **{name: GRID[index, : COUNTS[index]] for index, name in enumerate(NAMES)})
    policy = PolicyConfig(type=decoder, encoder="features", dim=8, num_layers=1, num_heads=2, max_tokens=5, dropout=0.0)
    task = CaptioningConfig(DataConfig(source="flickr8k", path=str(root), features="f.npz"), policy, images_per_batch=2).build(0)
    built = task.build_policy()
    rows = task.rollout(built, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert isinstance(rows.context, dict) and rows.context["image"]["mask"].shape == (4, 3)  # type: ignore[index, call-overload]
    assert torch.allclose(built(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-4)
    demonstrations = task.demonstrations()
    built(demonstrations).logp.sum().backward()
    assert "cider_d" in task.evaluate(built)


def test_other_ways_to_name_images(root: Path, tmp_path: Path) -> None:
    images = [{"id": 100 + index, "file_name": f"train2014/{name}"} for index, name in enumerate(NAMES)]
    captions = [{"image_id": 100 + index, "caption": "a cat"} for index in range(6)]
    (root / "train.json").write_text(json.dumps({"images": images, "annotations": captions}))
    settings: dict[str, Any] = {"source": "coco", "path": str(root), "captions": "train.json", "num_dev": 2}
    for number, way in enumerate(("id", "file_name")):
        np.savez(root / f"{number}.npz", **{str(image[way]): GRID[row] for row, image in enumerate(images)})
        data = load_data(DataConfig(**settings, features=f"{number}.npz"))
        numbers = [int(name) - 100 for name in data.train.image_ids]
        assert np.array_equal(data.train.images, GRID[numbers])
    with h5py.File(root / "folders.h5", "w") as file:
        for row, image in enumerate(images):
            file[str(image["file_name"])] = GRID[row]
    data = load_data(DataConfig(**settings, features=str(root / "folders.h5")))
    assert np.array_equal(data.dev.images, GRID[[int(name) - 100 for name in data.dev.image_ids]])


def test_drawn_scenes(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "f.npz", **{f"scene-{split}-{row:05d}": np.full(2, row, np.float32) for split in ("train", "dev") for row in range(3)}
    )
    scenes = ScenesConfig(num_train=3, num_dev=2, num_test=0)
    data = load_data(DataConfig(image_size=16, scenes=scenes, features=str(tmp_path / "f.npz")))
    assert data.train.images[:, 0, 0].tolist() == [0, 1, 2] and data.dev.scenes is not None and data.dev.picture(1).shape == (3, 16, 16)


def test_images_without_features(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(root / "f.npz", **{name: GRID[index] for index, name in enumerate(NAMES) if index not in (1, 3)})
    said = r"train: 1 of 3 images have no features in .*f\.npz, the first: '1\.jpg'; add them, or set skip_broken_images: true"
    with pytest.raises(ValueError, match=said):
        load(root, "f.npz")
    data = load(root, "f.npz", skip_broken_images=True)
    assert data.train.image_ids == ["0.jpg", "2.jpg"] and np.array_equal(data.train.images, GRID[[0, 2]]) and "left out" in caplog.text
    assert data.dev.image_ids == ["4.jpg", "5.jpg"] and np.array_equal(data.dev.images, GRID[4:])


def cut(path: Path, share: float = 0.7) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def broken_npz(path: Path) -> None:
    write_npz_by_name(path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("4.jpg.npy").header_offset
    data[place + 150 + 30] ^= 255
    path.write_bytes(data)


def damaged_array(path: Path) -> None:
    np.savez(path, features=np.ones((6, 100, 100)), names=np.array(NAMES))
    data = bytearray(path.read_bytes())
    data[200_000] ^= 255
    path.write_bytes(data)


def link(path: Path, target: Any) -> None:
    with h5py.File(path, "w") as file:
        for name in NAMES[1:]:
            file[name] = GRID[0]
        file[NAMES[0]] = target


def h5_outside(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(NAMES[0], (3, 2), "f4", external=[("/etc/passwd", 0, 24)])


def h5_virtual(path: Path) -> None:
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "x", shape=(3, 2))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset(NAMES[0], layout)


def h5_bomb(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(NAMES[0], (10**9, 2048), "f4", chunks=(64, 2048))


def h5_chunk_bomb(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in NAMES:
            file.create_dataset(name, (3, 2), "f4", chunks=(10**7, 2), maxshape=(None, 2), compression="gzip")


def h5_cycle(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a/b"] = GRID[0]
        file["a/c"] = file["a"]


def npz_of(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def npz_member_larger_than_its_file(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 2048)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.jpg.npy", header.getvalue())


def with_value(value: float) -> np.ndarray:
    rows = GRID.copy()
    rows[2, 1, 1] = value
    return rows


BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no file": ("f.npy", lambda path: None, "f.npy: no such file; set `features`"),
    "another ending": (
        "f.csv",
        lambda path: path.write_text("1"),
        "expected features in a file ending with .npy, .npz, .h5, .hdf5, got '.csv'",
    ),
    "no names": ("f.npy", lambda path: np.save(path, GRID), r"f.npy.names.txt beside it, a line for each of its 6 rows, found none"),
    "too few names": (
        "f.npy",
        lambda path: (write_npy(path), Path(f"{path}.names.txt").write_text("0.jpg")),
        "a name for each of 6 images, got 1",
    ),
    "a name twice": ("f.npy", lambda path: write_npy(path, names=["0.jpg"] * 6), "expected every name once, got '0.jpg' twice"),
    "other images": (
        "f.npy",
        lambda path: write_npy(path, names=[f"cat{k}" for k in range(6)]),
        "features of other images: expected names such as '0.jpg', got 'cat4', 'cat0', 'cat5'; set `features`",
    ),
    "cut .npy": ("f.npy", lambda path: (write_npy(path), cut(path)), "expected 272 bytes for float32 [6, 3, 2], got 190: it is cut short"),
    "cut .npz": (
        "f.npz",
        lambda path: (write_npz_by_name(path), cut(path)),
        "expected arrays as numpy.savez writes them, but it is cut short",
    ),
    "damaged .npz": ("f.npz", broken_npz, "'4.jpg': it does not unpack (Bad CRC-32 for file '4.jpg.npy')"),
    "damaged array": ("f.npz", damaged_array, "'features': it does not unpack (Bad CRC-32"),
    "cut .h5": ("f.h5", lambda path: (write_h5(path), cut(path)), "expected an HDF5 file, but it is none, cut short or damaged ("),
    "no .h5": ("f.h5", lambda path: path.write_text("text"), "expected an HDF5 file, but it is none"),
    "no .npy": (
        "f.npy",
        lambda path: path.write_text("text"),
        "expected an array as numpy.save writes it, but its beginning does not read",
    ),
    "NaN": (
        "f.npy",
        lambda path: write_npy(path, with_value(np.nan)),
        "f.npy, '2.jpg': expected finite features of at most 65504, got NaN",
    ),
    "infinite": ("f.npy", lambda path: write_npy(path, with_value(-np.inf)), "'2.jpg': expected finite features of at most 65504, got inf"),
    "too large": ("f.npy", lambda path: write_npy(path, with_value(1e5)), "got 100000; scale them"),
    "whole numbers": (
        "f.npy",
        lambda path: write_npy(path, GRID.astype(np.int32)),
        "expected real numbers (float16, float32 or float64), got int32",
    ),
    "a line of numbers": (
        "f.npy",
        lambda path: write_npy(path, GRID[:, 0, 0]),
        "expected features [N, D], [N, R, D], [N, H, W, D], none of them 0, got [6]",
    ),
    "no regions": ("f.npz", lambda path: npz_of(path, **dict.fromkeys(NAMES, np.zeros((0, 2)))), "none of them 0, got [0, 2]"),
    "objects": ("f.npz", lambda path: npz_of(path, **{"0.jpg": np.array([{}])}), "got Python objects, which are never unpacked"),
    "names as objects": ("f.npz", lambda path: npz_of(path, features=GRID, names=np.array(NAMES, object)), "got Python objects"),
    "other sizes": (
        "f.npz",
        lambda path: npz_of(path, **{"0.jpg": GRID[0], "1.jpg": np.ones((3, 5))}),
        "expected as many numbers a region in every image, got 2 in 0.jpg and 5 in 1.jpg",
    ),
    "counts": (
        "f.npz",
        lambda path: write_npz(path, counts=np.array([1, 2, 3, 4, 1, 1])),
        "f.npz, counts: expected 6 whole numbers from 1 to 3",
    ),
    "mask": (
        "f.npz",
        lambda path: write_npz(path, mask=np.zeros((6, 3), bool)),
        "f.npz, mask: expected bool [6, 3] with a region that counts",
    ),
    "a member larger than its file": ("f.npz", npz_member_larger_than_its_file, "for float32 [1000000000, 2048], got 128: it is cut short"),
    "a link out": (
        "f.h5",
        lambda path: link(path, h5py.ExternalLink("/etc/passwd", "x")),
        "'0.jpg': expected arrays in the file itself, got a link",
    ),
    "a link within": ("f.h5", lambda path: link(path, h5py.SoftLink("/1.jpg")), "got a link; links are not followed"),
    "numbers outside": ("f.h5", h5_outside, "'0.jpg': expected arrays in the file itself, got a data set that stands in other files"),
    "numbers elsewhere": ("f.h5", h5_virtual, "got a data set that stands in other files"),
    "larger than it can be": ("f.h5", h5_bomb, "expected at most 100 times its"),
    "chunks larger than they can be": ("f.h5", h5_chunk_bomb, "expected at most 100 times its"),
    "a group in itself": ("f.h5", h5_cycle, "expected groups that stand in one place"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_features(name: str, root: Path) -> None:
    file, write, said = BAD[name]
    write(root / file)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        load(root, file)
    assert said in str(raised.value) and file in str(raised.value)


@pytest.mark.parametrize(("name", "write"), [("f.npy", write_npy), ("f.npz", write_npz_by_name), ("f.h5", write_h5)])
def test_a_file_with_any_byte_damaged_reads_or_is_named(name: str, write: Callable[[Path], None], root: Path) -> None:
    path = root / name
    write(path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), max(1, len(whole) // 100)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        try:
            with open_features(path) as found:
                for row in range(len(found.names)):
                    found.row(row)
        except ValueError as error:
            assert name in str(error), place
            refused += 1
    assert refused


def test_axes_below_zero(root: Path) -> None:
    with (root / "f.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (-6, 3, -2)})
    with pytest.raises(ValueError, match=r"f.npy: expected axes of 0 or more, got \[-6, 3, -2\]"):
        load(root, "f.npy")


def test_what_grows_out_of_proportion_is_not_unpacked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_FREELY", 10_000)
    np.savez_compressed(root / "f.npz", **{"0.jpg": np.zeros((1000, 1000), np.float32)})
    with pytest.raises(ValueError, match=r"'0\.jpg': expected at most 100 times its \d+ bytes when unpacked, got 4000128"):
        load(root, "f.npz")


def test_without_h5py(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "f.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with (
        pytest.raises(ValueError, match=r"f\.h5: HDF5 files are read by h5py, which is not installed: pip install 'seqrl\[vision\]'"),
        open_features(root / "f.h5"),
    ):
        pass


def test_settings_that_do_not_fit_are_named_before_anything_is_read(root: Path) -> None:
    def build(policy: dict[str, Any], features: str, **settings: Any) -> None:
        data = DataConfig(source="flickr8k", path=str(root), features=features)
        CaptioningConfig(data, PolicyConfig(**policy), **settings).build(0)

    (root / "token.txt").write_text("nothing")  # to read this would be another error
    write_npy(root / "f.npy")
    for policy, features, settings, said in (
        ({"encoder": "features"}, "", {}, r"data\.features: policy\.encoder features needs a file"),
        ({}, "f.npy", {}, r"data\.features: policy\.encoder scenes does not read it; set policy\.encoder: features"),
        ({"encoder": "features"}, "f.npy", {"flip": True}, "flip: nobody knows the features of the mirrored images"),
        ({"encoder": "features"}, "g.npy", {}, r"data\.features: .*g\.npy: no such file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            build(policy, features, **settings)  # type: ignore[arg-type]


def test_photographs_are_shown_where_they_are(root: Path) -> None:
    write_npy(root / "f.npy")
    (root / "images").mkdir()
    Image.new("RGB", (32, 32), (250, 0, 0)).save(root / "images" / "0.jpg")
    assert load(root, "f.npy").train.picture(0)[0, 5, 5] > 240
