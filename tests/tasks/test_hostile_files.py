"""Files made to do harm: every reader refuses them by name, at once, and before they fill the memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seqrl.metrics import limits
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.limits import brief
from seqrl.metrics.score_files import read_entries
from seqrl.metrics.text_files import json_lines_of, read_json, read_text
from seqrl.tasks import image_bytes
from seqrl.tasks.attention.idx_files import read_idx
from seqrl.tasks.captioning import caption_files
from seqrl.tasks.captioning.feature_files import open_features
from seqrl.tasks.captioning.image_stores import FolderStore, ZipStore
from seqrl.tasks.captioning.images import load_images
from seqrl.tasks.image_bytes import decode_picture, read_encoded

DEEP = "[" * 10_000
LONG_NUMBER = "[" + "1" * 5_000 + "]"


def references(path: Path) -> Any:
    return read_entries(path, many=True)


def features(path: Path) -> Any:
    with open_features(path) as found:
        return found


def json_lines(path: Path) -> Any:
    return json_lines_of(read_text(path), str(path))


TEXT_READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "json": (read_json, ".json"),
    "json lines": (json_lines, ".jsonl"),
    "scores": (references, ".json"),
    "scores in text": (references, ".txt"),
    "coco": (caption_files.read_coco, ".json"),
    "karpathy": (caption_files.read_karpathy, ".json"),
    "lines of captions": (caption_files.read_jsonl, ".jsonl"),
}


@pytest.mark.parametrize(
    "content", [DEEP + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, LONG_NUMBER], ids=["lists", "objects", "number"]
)
@pytest.mark.parametrize("name", TEXT_READERS)
def test_json_that_is_too_deep_or_long_is_refused_by_name(name: str, content: str, tmp_path: Path) -> None:
    reader, ending = TEXT_READERS[name]
    path = tmp_path / f"hostile{ending}"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"hostile.*expected") as raised:
        if reader(path):  # a long number is text where text is read
            raise ValueError(f"{path}: expected, as text")
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("reader", [read_json, json_lines, references, features, read_encoded, read_idx, DocumentFrequency.load])
def test_a_pipe_is_not_waited_for(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            reader(tmp_path / name)


@pytest.mark.parametrize("identifier", ["[1]", "{}", "1e999", "null"])
def test_ids_of_coco_are_numbers_or_texts(identifier: str, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    image, caption = '{"id": %s, "file_name": "a.jpg"}', '{"image_id": %s, "caption": "a dog"}'
    for ids in ((identifier, "1"), ("1", identifier)):
        path.write_text(f'{{"images": [{image % ids[0]}], "annotations": [{caption % ids[1]}]}}')
        with pytest.raises(ValueError, match=r"coco.json: \w+\[0\]: expected a whole number or a text"):
            caption_files.read_coco(path)


def zip_bomb(path: Path, name: str, size: int, *, says: int | None = None) -> None:
    """Write a member of zeros; `says` is the size that the file gives instead of the true one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open(name, "w", force_zip64=True) as member:
        for start in range(0, size, 2**20):
            member.write(bytes(min(2**20, size - start)))
    if says is not None:
        data = bytearray(path.read_bytes())
        place = data.rindex(b"PK\x01\x02")  # the central directory, which is what a reader goes by
        data[place + 24 : place + 28] = struct.pack("<I", says)
        path.write_bytes(bytes(data))


def test_a_member_that_unpacks_to_more_than_an_image_is_refused_before(tmp_path: Path) -> None:
    zip_bomb(tmp_path / "images.zip", "a.png", 1000, says=300 * 2**20)
    with pytest.raises(ValueError, match=f"it unpacks to {300 * 2**20} bytes"):
        ZipStore(tmp_path / "images.zip").read("a.png")


def test_a_member_that_lies_about_its_size_unpacks_to_no_more_than_it_says(tmp_path: Path) -> None:
    """50 MB of zeros in 50 KB, of which not even one comes into memory."""
    zip_bomb(tmp_path / "images.zip", "a.png", 50 * 2**20, says=1000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="it does not unpack"):
            ZipStore(tmp_path / "images.zip").read("a.png")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_broken_images_in_a_zip_file_or_too_large_ones_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seqrl.tasks.captioning.image_stores.MOST_BYTES", 5000)
    monkeypatch.setattr(image_bytes, "MOST_BYTES", 5000)
    whole = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(whole, "PNG")
    zip_bomb(tmp_path / "images.zip", "b.png", 6000)
    with zipfile.ZipFile(tmp_path / "images.zip", "a") as archive:
        archive.writestr("a.png", whole.getvalue())
    for name, data in (("a.png", whole.getvalue()), ("b.png", bytes(6000))):
        (tmp_path / name).write_bytes(data)
    for store in (ZipStore(tmp_path / "images.zip"), FolderStore(tmp_path)):
        assert load_images(store, ["a.png", "b.png"], 16, skip_broken=True)[1] == [True, False]
        with pytest.raises(ValueError, match=r"b.png: expected an image, but it .*6000 bytes.*set skip_broken_images"):
            load_images(store, ["a.png", "b.png"], 16)


def test_packed_arrays_that_grow_out_of_proportion_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_FREELY", 10_000)
    np.savez_compressed(tmp_path / "bomb.npz", header=np.zeros(10**6, np.uint8), words=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match=r"bomb.npz: expected at most 100 times its \d+ bytes when unpacked"):
        DocumentFrequency.load(tmp_path / "bomb.npz")
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, 1000, 28, 28) + bytes(1000 * 28 * 28))
    with pytest.raises(ValueError, match=r"bomb.gz: expected at most 100 times its \d+ bytes when unpacked, got 784000"):
        read_idx(tmp_path / "bomb.gz")


def test_a_header_of_document_frequencies_that_is_none(tmp_path: Path) -> None:
    for header in (DEEP, "[1]", '{"format": "document-frequency-1"}', json.dumps({"format": "document-frequency-1", "num_images": 1e999})):
        arrays = {"header": np.frombuffer(header.encode(), np.uint8), "words": np.frombuffer(b"[]", np.uint8)}
        np.savez_compressed(tmp_path / "df.npz", **arrays, keys=np.zeros(0, np.int64), counts=np.zeros(0, np.int32))
        with pytest.raises(ValueError, match="df.npz"):
            DocumentFrequency.load(tmp_path / "df.npz")


def test_no_program_is_started_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *command, **_: started.append(command))
    monkeypatch.setattr("subprocess.check_call", lambda *command, **_: started.append(command))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(io.BytesIO(eps)).format == "EPS"  # so Pillow would take it
    with pytest.raises(ValueError, match="in none of the formats that are read"):
        decode_picture(eps, "RGB")
    assert not started


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    Image.new("L", (100, 90)).save(data, "PNG")
    assert decode_picture(data.getvalue(), "L").size == (100, 90)
    monkeypatch.setattr(image_bytes, "MOST_PIXELS", 8_999)
    with pytest.raises(ValueError, match="100 x 90 pixels, at most 8999 in all are decoded"):
        decode_picture(data.getvalue(), "L")
    huge = bytearray(data.getvalue())
    huge[16:24] = struct.pack(">II", 60_000, 60_000)  # beyond what Pillow opens
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    with pytest.raises(ValueError, match="does not decode"):
        decode_picture(bytes(huge), "L")


def test_what_is_quoted_stays_short() -> None:
    nested: list[Any] = []
    for _ in range(5_000):
        nested = [nested]
    for value in ("x" * 10**6, list(range(10**5)), nested, 16**10_000, {str(k): k for k in range(1000)}, b"x" * 10**6):
        assert len(brief(value)) <= 210
    assert brief("a'b") == repr("a'b") and brief({"a": [1, None]}) == "{'a': [1, None]}"
