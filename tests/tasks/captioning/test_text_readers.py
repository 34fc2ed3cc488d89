"""Every file with text that a user gives goes through one reader: all of them see the same in every encoding, and refuse the same."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqrl.metrics.score_files import read_pairs
from seqrl.tasks.captioning.caption_files import read_coco, read_jsonl, read_karpathy, read_list, read_token_file

NAME, CAPTION = "café.jpg", "Eine Bö\u2028 wirft den 狗 um"
TEXTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "tokens": (f"{NAME}#0\t{CAPTION}\n", lambda path: [(r.image_id, r.captions) for r in read_token_file(path)]),
    "table": (f'image,caption\n{NAME},"{CAPTION}"\n', lambda path: [(r.image_id, r.captions) for r in read_token_file(path)]),
    "list": (f"{NAME}\n", read_list),
    "coco": (
        json.dumps(
            {"images": [{"id": 1, "file_name": NAME}], "annotations": [{"image_id": 1, "caption": CAPTION}]}, ensure_ascii=False, indent=1
        ),
        lambda path: [(r.file_name, r.captions) for r in read_coco(path)],
    ),
    "karpathy": (
        json.dumps({"images": [{"filename": NAME, "split": "val", "sentences": [{"raw": CAPTION}]}]}, ensure_ascii=False, indent=1),
        lambda path: [(r.file_name, r.captions) for r in read_karpathy(path)],
    ),
    "jsonl": (
        json.dumps({"image": NAME, "captions": [CAPTION]}, ensure_ascii=False) + "\n",
        lambda path: [(r.image_id, r.captions) for r in read_jsonl(path)],
    ),
    "scored text": (f"{CAPTION}\n", lambda path: read_pairs(path, path).hypotheses),
    "scored table": (f"image,caption\n{NAME},{CAPTION}\n", lambda path: (read_pairs(path, path).keys, read_pairs(path, path).hypotheses)),
    "scored lines": (
        json.dumps({"id": NAME, "caption": CAPTION}, ensure_ascii=False) + "\n",
        lambda path: (read_pairs(path, path).keys, read_pairs(path, path).hypotheses),
    ),
}
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16-le": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
    "no last end": lambda text: text.removesuffix("\n").encode(),
    "all": lambda text: codecs.BOM_UTF16_LE + text.removesuffix("\n").replace("\n", "\r\n").encode("utf-16-le"),
}


@pytest.mark.parametrize("reader", TEXTS)
def test_every_reader_reads_every_encoding(reader: str, tmp_path: Path) -> None:
    text, read = TEXTS[reader]
    path = tmp_path / "file.txt"
    path.write_text(text, encoding="utf-8")
    plain = read(path)
    assert NAME in str(plain) or "狗" in str(plain)
    for name, encode in ENCODINGS.items():
        path.write_bytes(encode(text))
        assert read(path) == plain, name


@pytest.mark.parametrize("reader", TEXTS)
def test_every_reader_refuses_what_is_no_text(reader: str, tmp_path: Path) -> None:
    text, read = TEXTS[reader]
    path = tmp_path / "file.txt"
    for content, said in (
        (text.encode("utf-16-le"), r"file\.txt, line 1, character 2: expected text, got a NUL"),
        (text.encode() + b"\xff", r"file\.txt, line \d+, character \d+: expected UTF-8 text, got the byte 0xff"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read(path)
    path.write_bytes(b"")
    if reader not in ("tokens", "table", "jsonl"):  # which may hold no image; load_data refuses that
        with pytest.raises(ValueError, match="empty file|holds no hypothesis"):
            read(path)
