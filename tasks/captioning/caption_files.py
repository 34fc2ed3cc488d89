"""Readers of the usual caption files; each gives one record an image and names the file and place of what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqrl.tasks.paths import SPLIT_NAMES


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its captions.

    Attributes:
        image_id: distinct within a data set.
        file_name: its name in the image store.
        captions: raw, at least one.
        split: "train", "dev" or "test"; "" where the file does not say.
    """

    image_id: str
    file_name: str
    captions: tuple[str, ...]
    split: str = ""


def read_token_file(path: Path) -> list[CaptionedImage]:
    """Read Flickr8k's and Flickr30k's `name.jpg#k<TAB>caption` lines.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a line has no tab, or its caption is empty.
    """
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}, line {number}: expected `image.jpg#0<TAB>caption`, got no tab in {line[:80]!r}")
        captions.setdefault(name.rsplit("#", 1)[0].strip(), []).append(caption)
    return [make_record(path, name, name, texts) for name, texts in captions.items()]


def read_list(path: Path) -> list[str]:
    """Read image names, one a line.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it names nothing, or an image twice.
    """
    names = [line.strip() for line in _read_text(path).split("\n") if line.strip()]
    if not names:
        raise ValueError(f"{path}: expected image names, one a line, got an empty file")
    refuse_duplicates(path, names)
    return names


def read_coco(path: Path) -> list[CaptionedImage]:
    """Read COCO's captions JSON: `images` with id and file_name, `annotations` with image_id and caption.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a field is missing, an id comes twice, or an image has no caption.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(f'{path}: expected COCO captions with "images" and "annotations", got {_summary(content)}')
    images, annotations = content["images"], content["annotations"]
    _require(path, "images", images, "id", "file_name")
    _require(path, "annotations", annotations, "image_id", "caption")
    captions: dict[Any, list[str]] = {image["id"]: [] for image in images}
    refuse_duplicates(path, [str(image["id"]) for image in images])
    for index, annotation in enumerate(annotations):
        if annotation["image_id"] not in captions:
            raise ValueError(f"{path}: annotations[{index}] names image {annotation['image_id']}, which is not among the images")
        captions[annotation["image_id"]].append(annotation["caption"])
    return [make_record(path, str(image["id"]), image["file_name"], captions[image["id"]]) for image in images]


def read_karpathy(path: Path) -> list[CaptionedImage]:
    """Read Karpathy's dataset.json: `images` with filename, split and sentences, each with `raw`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a field is missing, a split has a strange name, an id comes twice, or an image has no caption.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or "images" not in content:
        raise ValueError(f'{path}: expected Karpathy\'s dataset.json with "images", got {_summary(content)}')
    images = content["images"]
    _require(path, "images", images, "filename", "split", "sentences")
    records = []
    for index, image in enumerate(images):
        _require(path, f"images[{index}].sentences", image["sentences"], "raw")
        name = str(Path(image.get("filepath", "")) / image["filename"])
        split = _split_name(f"{path}: images[{index}]", image["split"])
        records.append(make_record(path, image["filename"], name, [sentence["raw"] for sentence in image["sentences"]], split))
    refuse_duplicates(path, [record.image_id for record in records])
    return records


def read_jsonl(path: Path) -> list[CaptionedImage]:
    """Read lines of `{"image": "a.jpg", "captions": ["...", ...], "split": "train"}`; the split may be left out.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a line is no such object, a split has a strange name, an id comes twice, or an image has no
            caption.
    """
    records = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place}: expected a JSON object, got {line[:80]!r} ({error})") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("image"), str) or not isinstance(fields.get("captions"), list):
            raise ValueError(f'{place}: expected {{"image": "a.jpg", "captions": ["..."]}}, got {line[:80]!r}')
        split = _split_name(place, fields["split"]) if "split" in fields else ""
        records.append(make_record(place, fields["image"], fields["image"], fields["captions"], split))
    refuse_duplicates(path, [record.image_id for record in records])
    return records


def refuse_duplicates(place: Path | str, names: Iterable[str]) -> None:
    """Raise where a name comes twice.

    Raises:
        ValueError: naming the first few.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: expected every image once, got {len(twice)} twice or more: {', '.join(twice[:5])}")


def make_record(place: Path | str, image_id: str, file_name: str, captions: list[str], split: str = "") -> CaptionedImage:
    """Make a record.

    Raises:
        ValueError: when there is no caption, or an empty one.
    """
    if not captions:
        raise ValueError(f"{place}: image {image_id} has no caption; give it one or remove it")
    for index, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{place}: image {image_id}: caption {index} is empty ({caption!r}); write one or remove it")
    return CaptionedImage(image_id, file_name, tuple(captions), split)


def _split_name(place: str, name: object) -> str:
    if not isinstance(name, str) or name not in SPLIT_NAMES:
        raise ValueError(f"{place}: expected a split among {', '.join(SPLIT_NAMES)}, got {name!r}")
    return SPLIT_NAMES[name]


def _require(path: Path, what: str, rows: Any, *fields: str) -> None:
    if not isinstance(rows, list):
        raise ValueError(f"{path}: {what}: expected a list, got {_summary(rows)}")
    for index, row in enumerate(rows):
        lacking = [field for field in fields if not isinstance(row, dict) or field not in row]
        if lacking:
            raise ValueError(f"{path}: {what}[{index}]: expected the fields {', '.join(fields)}, got {_summary(row)}")


def _summary(value: object) -> str:
    return (
        f"an object with {', '.join(map(str, list(value)[:8]))}"
        if isinstance(value, dict)
        else f"a {type(value).__name__} {str(value)[:60]!r}"
    )


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the data settings path, captions and the lists")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got other bytes ({error}); convert it") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, but {error}") from error
