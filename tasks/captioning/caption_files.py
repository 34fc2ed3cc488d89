"""Readers of the usual caption files; each gives one record an image and names the file and place of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import json_lines_of, json_of, lines_of, read_text, refuse_twice, table_of
from seqrl.tasks.paths import SPLIT_NAMES


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its captions.

    Attributes:
        image_id: distinct within a data set.
        file_name: its name in the image store.
        captions: raw, at least one.
        split: "train", "dev" or "test"; "" where the file does not say.
        place: where it was read, for messages.
    """

    image_id: str
    file_name: str
    captions: tuple[str, ...]
    split: str = ""
    place: str = field(default="", compare=False)


# What the first line of Kaggle's Flickr8k captions.txt says, and of files like it.
_IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename")
_CAPTION_COLUMNS = ("caption", "comment")
# What fields of JSON files hold, where they have them.
_KINDS: dict[str, Any] = dict.fromkeys(("id", "image_id", "imgid", "cocoid"), int | str)
_KINDS |= dict.fromkeys(("file_name", "filename", "filepath"), str)


def read_token_file(path: Path) -> list[CaptionedImage]:
    """Read captions of Flickr8k or Flickr30k: `name.jpg#k<TAB>caption` lines, or Kaggle's table with the heading `image,caption`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a line has neither form, a caption is empty, or a line's `name.jpg#k` comes twice.
    """
    text = _read_text(path)
    captions: dict[str, list[str]] = {}
    for name, caption in _table(text, path) if _heading(text) else _token_lines(text, path):
        captions.setdefault(name, []).append(caption)
    return [make_record(path, name, name, texts) for name, texts in captions.items()]


def is_caption_table(path: Path) -> bool:
    """Tell whether a file that `read_token_file` reads is a table, as Kaggle has it."""
    return _heading(_read_text(path)) is not None


def _heading(text: str) -> tuple[str, str] | None:
    """Give the image and the caption column where the first line is the heading of a table of captions, else None."""
    names = [name.strip() for name in next((line for line in lines_of(text) if line.strip()), "").split(",")]
    images, captions = ([name for name in names if name.lower() in wanted] for wanted in (_IMAGE_COLUMNS, _CAPTION_COLUMNS))
    return (images[0], captions[0]) if images and captions else None


def _table(text: str, path: Path) -> Iterator[tuple[str, str]]:
    image, caption = _heading(text) or ("", "")
    for place, row in table_of(text, str(path), ",")[1]:
        name = row[image].strip()
        if not name:
            raise ValueError(f"{place}: expected the name of an image in the column {image!r}, got nothing; write it")
        yield name, row[caption]


def _token_lines(text: str, path: Path) -> Iterator[tuple[str, str]]:
    numbered: list[tuple[str, str]] = []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}, line {number}: expected `image.jpg#0<TAB>caption`, got no tab in {line[:80]!r}")
        if "#" in name:
            numbered.append((name.strip(), f"line {number}"))
        yield name.rsplit("#", 1)[0].strip(), caption
    refuse_twice(numbered, "number of a caption", path)


def read_list(path: Path) -> list[str]:
    """Read image names, one a line.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it names nothing, or an image twice.
    """
    named = [(line.strip(), f"line {number}") for number, line in enumerate(lines_of(_read_text(path)), start=1) if line.strip()]
    if not named:
        raise ValueError(f"{path}: expected image names, one a line, got an empty file")
    refuse_twice(named, "image", path)
    return [name for name, _ in named]


def read_coco(path: Path) -> list[CaptionedImage]:
    """Read COCO's captions JSON: `images` with id and file_name, `annotations` with image_id and caption.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a field is missing, an id comes twice, or an image has no caption.
    """
    content = json_of(_read_text(path), str(path))
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(f'{path}: expected COCO captions with "images" and "annotations", got {brief(content)}')
    images, annotations = content["images"], content["annotations"]
    _require(path, "images", images, "id", "file_name")
    _require(path, "annotations", annotations, "image_id", "caption")
    captions: dict[Any, list[str]] = {image["id"]: [] for image in images}
    refuse_twice(((str(image["id"]), f"images[{index}]") for index, image in enumerate(images)), "image", path)
    for index, annotation in enumerate(annotations):
        if annotation["image_id"] not in captions:
            raise ValueError(f"{path}: annotations[{index}] names image {brief(annotation['image_id'])}, which is not among the images")
        captions[annotation["image_id"]].append(annotation["caption"])
    return [
        make_record(f"{path}: images[{index}]", str(image["id"]), image["file_name"], captions[image["id"]])
        for index, image in enumerate(images)
    ]


def read_karpathy(path: Path) -> list[CaptionedImage]:
    """Read Karpathy's dataset.json: `images` with filename, split and sentences, each with `raw`.

    An image's id is `filepath/filename`, since train2014/ and val2014/ may hold images of one name.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a field is missing, a split has a strange name, an id comes twice, or an image has no caption.
    """
    content = json_of(_read_text(path), str(path))
    if not isinstance(content, dict) or "images" not in content:
        raise ValueError(f'{path}: expected Karpathy\'s dataset.json with "images", got {brief(content)}')
    images = content["images"]
    _require(path, "images", images, "filename", "split", "sentences")
    records = []
    for index, image in enumerate(images):
        _require(path, f"images[{index}].sentences", image["sentences"], "raw")
        name, place = str(Path(image.get("filepath", "")) / image["filename"]), f"{path}: images[{index}]"
        split = _split_name(place, image["split"])
        records.append(make_record(place, name, name, [sentence["raw"] for sentence in image["sentences"]], split))
    refuse_twice(((record.image_id, f"images[{index}]") for index, record in enumerate(records)), "image", path)
    for number in ("imgid", "cocoid"):
        given = ((image[number], f"images[{index}]") for index, image in enumerate(images) if number in image)
        refuse_twice(given, number, path)
    return records


def read_jsonl(path: Path) -> list[CaptionedImage]:
    """Read lines of `{"image": "a.jpg", "captions": ["...", ...], "split": "train"}`; the split may be left out.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a line is no such object, a split has a strange name, an id comes twice, or an image has no
            caption.
    """
    records = []
    for place, fields in json_lines_of(_read_text(path), str(path)):
        if not isinstance(fields, dict) or not isinstance(fields.get("image"), str) or not isinstance(fields.get("captions"), list):
            raise ValueError(f'{place}: expected {{"image": "a.jpg", "captions": ["..."]}}, got {brief(fields)}')
        split = _split_name(place, fields["split"]) if "split" in fields else ""
        records.append(make_record(place, fields["image"], fields["image"], fields["captions"], split))
    refuse_twice(((record.image_id, record.place.rpartition(", ")[2]) for record in records), "image", path)
    return records


def make_record(place: Path | str, image_id: str, file_name: str, captions: list[str], split: str = "") -> CaptionedImage:
    """Make a record.

    Raises:
        ValueError: when there is no caption, or an empty one.
    """
    if not captions:
        raise ValueError(f"{place}: image {brief(image_id)[1:-1]} has no caption; give it one or remove it")
    for index, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{place}: image {brief(image_id)[1:-1]}: caption {index} is empty ({brief(caption)}); write one or remove it")
    return CaptionedImage(image_id, file_name, tuple(captions), split, str(place))


def _split_name(place: str, name: object) -> str:
    if not isinstance(name, str) or name not in SPLIT_NAMES:
        raise ValueError(f"{place}: expected a split among {', '.join(SPLIT_NAMES)}, got {brief(name)}")
    return SPLIT_NAMES[name]


def _require(path: Path, what: str, rows: Any, *fields: str) -> None:
    if not isinstance(rows, list):
        raise ValueError(f"{path}: {what}: expected a list, got {brief(rows)}")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not row.keys() >= set(fields):
            raise ValueError(f"{path}: {what}[{index}]: expected the fields {', '.join(fields)}, got {brief(row)}")
        for name, kind in _KINDS.items():
            if not isinstance(row.get(name, ""), kind):
                wanted = "a text" if kind is str else "a whole number or a text"
                raise ValueError(f"{path}: {what}[{index}]: expected {wanted} for {name}, got {brief(row[name])}")


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the data settings path, captions and the lists")
    return read_text(path)
