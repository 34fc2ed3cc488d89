from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.tasks.captioning import cache as cache_module
from seqrl.tasks.captioning import images as images_module
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.image_stores import FolderStore, ZipStore, open_images
from seqrl.tasks.captioning.images import augment, decode_image, load_images
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encode(array: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photographs"
    root.mkdir()
    for index in range(5):
        (root / f"{index}.png").write_bytes(encode(np.full((20, 30, 3), 40 * index, dtype=np.uint8)))
    return root


NAMES = [f"{index}.png" for index in range(5)]


def test_an_image_of_the_right_size_is_kept_to_the_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encode(pixels), 16), pixels.transpose(2, 0, 1))


def test_the_centre_square_is_kept() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (10, 200, 90)
    assert (decode_image(encode(wide), 20) == np.array([10, 200, 90])[:, None, None]).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_image(encode(np.full((20, 20, 3), 90, dtype=np.uint8), kind, mode), 16).shape == (3, 16, 16)


def test_images_are_decoded_once_and_then_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, kept = load_images(FolderStore(folder), NAMES, 16)
    assert kept == [True] * 5 and [int(image.mean()) for image in first] == [0, 40, 80, 120, 160]

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(images_module, "decode_image", refuse)
    second, _ = load_images(FolderStore(folder), NAMES, 16)
    assert isinstance(second, np.memmap) and not second.flags.writeable and np.array_equal(first, second)


def test_a_changed_file_is_decoded_again(folder: Path) -> None:
    load_images(FolderStore(folder), NAMES, 16)
    (folder / "3.png").write_bytes(encode(np.full((50, 50, 3), 7, dtype=np.uint8)))
    assert load_images(FolderStore(folder), NAMES, 16)[0][3].max() == 7


def test_a_broken_image_is_named_and_leaves_no_cache(folder: Path, cache: Path) -> None:
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"2\.png.*skip_broken_images"):
        load_images(FolderStore(folder), NAMES, 16)
    assert list((cache / "images").iterdir()) == []
    pictures, kept = load_images(FolderStore(folder), NAMES, 16, skip_broken=True)
    assert kept == [True, True, False, True, True] and [int(image.mean()) for image in pictures] == [0, 40, 120, 160]
    assert load_images(FolderStore(folder), NAMES, 16, skip_broken=True)[0].shape == (4, 3, 16, 16)


def test_an_interruption_leaves_no_half_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = FolderStore.read

    def interrupted(store: FolderStore, name: str) -> bytes:
        if name == "4.png":
            raise KeyboardInterrupt
        return read(store, name)

    monkeypatch.setattr(FolderStore, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_images(FolderStore(folder), NAMES, 16)
    assert list((cache / "images").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file where the folder should be: root, too, cannot write there.
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "occupied"))
    pictures, kept = load_images(FolderStore(folder), NAMES, 16)
    assert pictures.shape == (5, 3, 16, 16) and all(kept)


def test_too_little_space_is_said_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(OSError, match="SEQRL_CACHE"):
        load_images(FolderStore(folder), NAMES, 16)


def test_a_zip_file_gives_the_same_as_its_folder(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / name, f"inside/{name}")
    store = open_images(tmp_path / "images.zip")
    assert isinstance(store, ZipStore) and store.missing([*NAMES, "9.png"]) == ["9.png"]
    assert np.array_equal(load_images(store, NAMES, 16)[0], load_images(FolderStore(folder), NAMES, 16)[0])


def test_what_is_neither_folder_nor_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="zip"):
        open_images(tmp_path / "text.zip")


def test_small_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="image_size"):
        load_images(FolderStore(folder), NAMES, 15)


def test_augment_moves_whole_images() -> None:
    pixels = torch.arange(2 * 3 * 16 * 16).remainder(251).to(torch.uint8).view(2, 3, 16, 16)
    moved = augment(pixels, torch.Generator().manual_seed(3), max_shift=2)
    for before, after in zip(pixels, moved, strict=True):
        inner = after[:, 4:12, 4:12]
        fits = [
            torch.equal(inner, before[:, 4 + down : 12 + down, 4 + right : 12 + right]) for down in range(-2, 3) for right in range(-2, 3)
        ]
        assert any(fits)


def test_augment_without_shift_or_flip_changes_nothing_and_flips_mirror() -> None:
    pixels = torch.arange(8 * 3 * 4 * 4).remainder(251).to(torch.uint8).view(8, 3, 4, 4)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augment(pixels, generator, max_shift=0), pixels)
    flipped = augment(pixels, generator, max_shift=0, flip=True)
    mirrored = [torch.equal(after, before.flip(-1)) for before, after in zip(pixels, flipped, strict=True)]
    same = [torch.equal(after, before) for before, after in zip(pixels, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 0 < sum(mirrored) < 8


def test_a_task_that_flips_mirrors_its_pictures() -> None:
    data = DataConfig(image_size=16, scenes=ScenesConfig(num_train=16, num_dev=2, num_test=0))
    task = CaptioningConfig(data, images_per_batch=16, captions_per_image=1, flip=True).build(0)
    shown = task.demonstrations()
    assert shown.group is not None and isinstance(shown.context, dict)
    inside, found = slice(4, 12), []
    for item, after in zip(shown.group.tolist(), np.asarray(shown.context["image"]), strict=True):
        before = task.data.train.images[item]
        found += [
            mirrored
            for mirrored, picture in ((False, before), (True, before[:, :, ::-1]))
            if any(
                np.array_equal(after[:, inside, inside], picture[:, 4 + down : 12 + down, 4 + right : 12 + right])
                for down in range(-4, 5)
                for right in range(-4, 5)
            )
        ]
    assert len(found) >= 16 and 0 < sum(found) < len(found)


def test_metrics_cannot_be_looked_for_in_mirrored_pictures() -> None:
    with pytest.raises(ValueError, match="flip: expected false with policy.figure_detection"):
        CaptioningConfig(policy=PolicyConfig(figure_detection=1.0), flip=True)


def test_leftovers_of_a_killed_process_are_removed(folder: Path, cache: Path) -> None:
    load_images(FolderStore(folder), NAMES, 16)
    (array_file,) = (cache / "images").glob("*.npy")
    leftover = array_file.with_name(array_file.name + ".part-1")
    leftover.write_text("")
    os.utime(leftover, (0, 0))
    array_file.unlink()
    load_images(FolderStore(folder), NAMES, 16)
    assert not leftover.exists() and array_file.exists()
