from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seqrl.tasks.captioning.caption_files import read_coco, read_jsonl, read_karpathy, read_list, read_token_file
from seqrl.tasks.captioning.data import CaptionSplit, DataConfig, load_data
from seqrl.tasks.captioning.scenes import ScenesConfig

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
NAMES = [f"{index}.png" for index in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for index, name in enumerate(NAMES):
        (folder / "images" / name).write_bytes(picture(40 * index))
    lines = [f"{name}#{k}\tA dog, number {index}, runs ." for index, name in enumerate(NAMES) for k in range(2)]
    (folder / "token.txt").write_text("\n".join(lines) + "\n")
    for part, names in (("train", NAMES[:3]), ("dev", NAMES[3:])):
        (folder / f"{part}Images.txt").write_text("\n".join(names) + "\n")
    return folder


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((24, 24, 3), shade, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shades(split: CaptionSplit) -> list[int]:
    return [int(image.mean()) for image in split.images]


def config(root: Path, source: str = "flickr8k", **settings: Any) -> DataConfig:
    return DataConfig(source=source, path=str(root), image_size=16, **settings)


def test_flickr8k_with_its_lists_and_a_held_out_test(root: Path) -> None:
    data = load_data(config(root, num_test=1))
    assert (data.train.image_ids, data.dev.image_ids, data.test.image_ids) == (NAMES[:3], NAMES[3:5], NAMES[5:])
    assert (shades(data.train), shades(data.dev), shades(data.test)) == ([0, 40, 80], [120, 160], [200])
    assert data.dev.references[0] == ["A dog, number 3, runs ."] * 2
    assert data.dev.words[0][0] == ["a", "dog", "number", "3", "runs"]
    assert "0" in data.vocabulary and "3" not in data.vocabulary  # type: ignore[operator]


def test_without_lists_a_dev_part_is_held_out(root: Path) -> None:
    for name in ("train", "dev"):
        (root / f"{name}Images.txt").unlink()
    with pytest.raises(ValueError, match="num_dev"):
        load_data(config(root))
    data = load_data(config(root, num_dev=2))
    assert len(data.train) == 4 and len(data.dev) == 2 and len(data.test) == 0
    assert set(data.train.image_ids) | set(data.dev.image_ids) == set(NAMES)
    assert data.test.images.shape == (0, 3, 16, 16)


def test_max_images_keeps_the_first(root: Path) -> None:
    assert load_data(config(root, max_images=2)).train.image_ids == NAMES[:2]


def coco(names: list[str]) -> dict[str, Any]:
    images = [{"id": int(name[0]), "file_name": name} for name in names]
    return {"images": images, "annotations": [{"image_id": image["id"], "caption": f"a cat {image['id']}"} for image in images]}


def test_coco(root: Path) -> None:
    (root / "train.json").write_text(json.dumps(coco(NAMES[:4])))
    (root / "val.json").write_text(json.dumps(coco(NAMES[4:])))
    data = load_data(config(root, "coco", captions="train.json", dev_captions="val.json", images="images"))
    assert data.train.image_ids == ["0", "1", "2", "3"] and shades(data.dev) == [160, 200]


def karpathy(splits: list[str]) -> dict[str, Any]:
    rows = zip(NAMES, splits, strict=True)
    return {"images": [{"filename": name, "split": split, "sentences": [{"raw": f"A cat {name[0]}."}]} for name, split in rows]}


def test_karpathy(root: Path) -> None:
    (root / "dataset.json").write_text(json.dumps(karpathy(["train", "restval", "val", "test", "test", "train"])))
    data = load_data(config(root, "karpathy", captions="dataset.json"))
    assert (shades(data.train), shades(data.dev), shades(data.test)) == ([0, 40, 200], [80], [120, 160])


def test_karpathy_images_of_one_name_in_two_folders(root: Path) -> None:
    for folder, names in (("train2014", NAMES[:3]), ("val2014", NAMES[3:])):
        (root / folder).mkdir()
        for number, name in enumerate(names):
            (root / folder / f"{number}.png").write_bytes((root / "images" / name).read_bytes())
    content = karpathy(["train", "train", "train", "val", "test", "restval"])
    for number, image in enumerate(content["images"]):
        image |= {"filename": f"{number % 3}.png", "filepath": "train2014" if number < 3 else "val2014", "imgid": number}
    (root / "dataset.json").write_text(json.dumps(content))
    data = load_data(config(root, "karpathy", captions="dataset.json", images="."))
    assert (shades(data.train), shades(data.dev), shades(data.test)) == ([0, 40, 80, 200], [120], [160])
    assert data.dev.image_ids == ["val2014/0.png"]
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for path in [*root.glob("train2014/*"), *root.glob("val2014/*")]:
            archive.write(path, path.relative_to(root))
    assert shades(load_data(config(root, "karpathy", captions="dataset.json", images="pictures.zip")).dev) == [120]
    (root / "mine.jsonl").write_text("".join(json.dumps({"image": f"{n}.png", "captions": ["a cat"]}) + "\n" for n in range(2)))
    with pytest.raises(ValueError, match=r"pictures\.zip: [01]\.png could be (train|val)2014/[01]\.png or .*name images with their folder"):
        load_data(config(root, "jsonl", captions="mine.jsonl", images="pictures.zip", num_dev=1, skip_broken_images=True))
    for change, said in (
        ({"filepath": "train2014"}, r"every image once, got 'train2014/0\.png' twice: in images\[0\], and again in images\[3\]"),
        ({"imgid": 0}, r"every imgid once, got 0 twice: in images\[0\], and again in images\[3\]"),
    ):
        wrong = json.loads(json.dumps(content))
        wrong["images"][3] |= change
        (root / "dataset.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=said):
            load_data(config(root, "karpathy", captions="dataset.json"))


def kaggle(count: int) -> str:
    rows = [f'{index}.png,"A dog, number {index} ""Rex"", runs ."\r\n{index}.png,A cat .\r\n' for index in range(count)]
    return "image,caption\r\n" + "".join(rows)


def test_kaggles_table_of_flickr8k(root: Path) -> None:
    (root / "token.txt").unlink()
    (root / "captions.txt").write_text(kaggle(6))
    data = load_data(config(root))
    assert (data.train.image_ids, data.dev.image_ids) == (NAMES[:3], NAMES[3:])
    assert data.dev.references[0] == ['A dog, number 3 "Rex", runs .', "A cat ."]
    (root / "captions.txt").write_text("image,caption\n0.png,A dog, running\n")
    with pytest.raises(ValueError, match=r"captions\.txt, line 2: expected 2 cells \(image, caption\), got 3; put quotes"):
        load_data(config(root))


def test_kaggles_table_without_lists_is_split_by_the_names(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("token.txt", "trainImages.txt", "devImages.txt"):
        (root / name).unlink()
    for index in range(6, 32):
        (root / "images" / f"{index}.png").write_bytes(picture(index))
    (root / "captions.txt").write_text(kaggle(32))
    data = load_data(config(root))
    assert "there are no lists of images beside it, so the names' hashes decide: 24 train, 4 dev, 4 test" in caplog.text
    # which names: sorted by sha256, computed here
    order = sorted((f"{index}.png" for index in range(32)), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert (set(data.dev.image_ids), set(data.test.image_ids)) == (set(order[:4]), set(order[4:8]))
    (root / "captions.txt").write_text("image,caption\n" + "\n".join(reversed(kaggle(32).splitlines()[1:])))
    assert set(load_data(config(root)).dev.image_ids) == set(order[:4])
    assert len(load_data(config(root, num_dev=3)).train) == 29


def test_captions_in_characters(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "token.txt").write_text("\n".join(f"{name}#0\t一只狗在草地上奔跑。" for name in NAMES))
    assert load_data(config(root)).dev.words[0] == [["一只狗在草地上奔跑", "。"]]
    assert "most captions have no spaces between words" in caplog.text and "task.data.tokens: characters" in caplog.text
    caplog.clear()
    data = load_data(config(root, tokens="characters"))
    assert data.dev.words[0] == [list("一只狗在草地上奔跑")] and "狗" in data.vocabulary and not caplog.text  # type: ignore[operator]
    with pytest.raises(ValueError, match="tokens: expected one of ptb, characters, spaces, got 'bytes'"):
        load_data(config(root, tokens="bytes"))


def test_captions_that_hold_the_name_of_a_token(root: Path) -> None:
    with (root / "token.txt").open("a") as file:
        file.write("0.png#2\tA dog <end> runs\n")
    with pytest.raises(ValueError, match=r"0\.png: caption 2 holds <end>"):
        load_data(config(root))


def test_jsonl_with_and_without_splits(root: Path) -> None:
    rows = [{"image": name, "captions": [f"a cat {name[0]}"], "split": "dev" if name > "3" else "train"} for name in NAMES]
    (root / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_data(config(root, "jsonl", captions="mine.jsonl"))
    assert len(data.train) == 3 and shades(data.dev) == [120, 160, 200]
    (root / "mine.jsonl").write_text("\n".join(json.dumps({"image": row["image"], "captions": row["captions"]}) for row in rows))
    assert len(load_data(config(root, "jsonl", captions="mine.jsonl", num_dev=1)).train) == 5


def test_a_data_set_saved_to_disk(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"photo": [str(root / "images" / name) for name in NAMES], "text": [[f"a cat {name[0]}", "a cat"] for name in NAMES]}
    rows = datasets.Dataset.from_dict(columns).cast_column("photo", datasets.Image())
    parts = {"train": rows.select(range(4)), "validation": rows.select(range(4, 6))}
    datasets.DatasetDict(parts).save_to_disk(str(root / "saved"))
    settings = {"image_column": "photo", "caption_column": "text"}
    data = load_data(config(root / "saved", "datasets", **settings))
    assert shades(data.train) == [0, 40, 80, 120] and shades(data.dev) == [160, 200] and len(data.train.references[0]) == 2
    with pytest.raises(ValueError, match="image_column"):
        load_data(config(root / "saved", "datasets", image_column="picture", caption_column="text"))


def test_a_folder_of_images_with_metadata(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "hub")
    for part, names in (("train", NAMES[:4]), ("test", NAMES[4:])):
        (root / "folder" / part).mkdir(parents=True)
        for name in names:
            (root / "folder" / part / name).write_bytes((root / "images" / name).read_bytes())
        rows = [json.dumps({"file_name": name, "caption": f"a cat {name[0]}"}) for name in names]
        (root / "folder" / part / "metadata.jsonl").write_text("\n".join(rows))
    data = load_data(config(root / "folder", "datasets", caption_column="caption", num_dev=1))
    assert len(data.train) == 3 and len(data.dev) == 1 and shades(data.test) == [160, 200]


def test_scenes_are_the_default_source() -> None:
    data = load_data(DataConfig(image_size=16, scenes=ScenesConfig(num_train=30, num_dev=10, num_test=5), max_images=20))
    assert (len(data.train), len(data.dev), len(data.test)) == (20, 10, 5)
    assert len(data.train.words[0]) == 5 and data.train.words[0][0][0].islower()


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"source": "flicker"}, "source.*flickr8k.*flicker"),
        ({"source": "jsonl"}, "path"),
        ({"image_size": 15}, "image_size.*16.*15"),
        ({"min_count": 0}, "min_count"),
        ({"num_dev": -1}, "num_dev"),
        ({"captions": "x.txt"}, "captions: source scenes does not read it"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_data(DataConfig(**settings))


def test_files_that_are_not_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_data(config(root / "nowhere"))
    with pytest.raises(FileNotFoundError, match="SEQRL_ABSENT is not set"):
        load_data(DataConfig(source="flickr8k", path="$SEQRL_ABSENT/flickr8k"))
    with pytest.raises(FileNotFoundError, match="absent.txt"):
        load_data(config(root, captions="absent.txt"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_data(config(root, images="elsewhere"))
    (root / "images" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images.*1\.png.*skip_broken_images"):
        load_data(config(root))
    assert load_data(config(root, skip_broken_images=True)).train.image_ids == ["0.png", "2.png"]


def test_an_image_that_does_not_decode(root: Path) -> None:
    (root / "images" / "4.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"4\.png"):
        load_data(config(root))
    data = load_data(config(root, skip_broken_images=True))
    assert data.dev.image_ids == ["3.png", "5.png"] and shades(data.dev) == [120, 200]


def test_an_image_without_captions(root: Path) -> None:
    (root / "devImages.txt").write_text("3.png\n7.png\n")
    with pytest.raises(ValueError, match=r"no caption.*7\.png"):
        load_data(config(root))


def test_an_image_in_two_splits(root: Path) -> None:
    (root / "devImages.txt").write_text("3.png\n0.png\n")
    with pytest.raises(ValueError, match=r"once.*'0\.png' twice: in .*trainImages\.txt \(train\), and again in .*devImages\.txt \(dev\)"):
        load_data(config(root))
    (root / "token.txt").write_text("0.png#0\tA dog.\n1.png#0\tA cat.\n0.png#0\tA red dog.\n")
    with pytest.raises(ValueError, match=r"token\.txt: .*'0\.png#0' twice: in line 1, and again in line 3"):
        load_data(config(root))


def test_a_reference_without_words(root: Path) -> None:
    with (root / "token.txt").open("a") as file:
        file.write("0.png#2\t . !\n")
    with pytest.raises(ValueError, match=r"0\.png: caption 2 holds no word"):
        load_data(config(root))


def test_an_empty_vocabulary(root: Path) -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        load_data(config(root, min_count=1000))


def test_a_line_without_a_tab_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "token.txt"
    path.write_text("0.png#0\tA dog.\n0.png#1 A cat.\n")
    with pytest.raises(ValueError, match=r"token\.txt, line 2.*no tab.*A cat"):
        read_token_file(path)
    path.write_text("0.png#0\t  \n")
    with pytest.raises(ValueError, match=r"0\.png: caption 0 is empty"):
        read_token_file(path)


def test_lists_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.png\nb.png\na.png\n")
    with pytest.raises(ValueError, match=r"once.*a\.png"):
        read_list(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        read_list(path)


def test_coco_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    good = coco(["1.png"])
    wrongs: list[tuple[Any, str]] = [
        ([1], "annotations"),
        (good | {"images": [{"id": 1}]}, r"images\[0\].*file_name"),
        (good | {"annotations": []}, "image 1 has no caption"),
        (good | {"annotations": [{"image_id": 9, "caption": "a"}]}, r"annotations\[0\] names image 9"),
        (good | {"annotations": [{"image_id": 1, "caption": " "}]}, "caption 0 is empty"),
        (good | {"images": good["images"] * 2}, "once"),
    ]
    for content, said in wrongs:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=said):
            read_coco(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_coco(path)


def test_one_id_in_two_coco_files(root: Path) -> None:
    (root / "train.json").write_text(json.dumps(coco(NAMES[:4])))
    (root / "val.json").write_text(json.dumps(coco(NAMES[3:])))
    said = r"'3' twice: in .*train\.json: images\[3\] \(train\), and again in .*val\.json: images\[0\] \(dev\)"
    with pytest.raises(ValueError, match=said):
        load_data(config(root, "coco", captions="train.json", dev_captions="val.json", images="images"))


def test_karpathy_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(karpathy(["train"] * 5 + ["holdout"])))
    with pytest.raises(ValueError, match=r"images\[5\].*restval.*'holdout'"):
        read_karpathy(path)


@pytest.mark.parametrize(
    "line, said",
    [
        ("no json", "line 1: expected a JSON object"),
        ('{"image": "a.png", "captions": ["a"], "image": "b.png"}', "line 1: the key 'image' stands there twice"),
        ('{"image": 3, "captions": []}', "line 1: expected"),
        ('{"image": "a.png", "captions": []}', r"a\.png has no caption"),
        ('{"image": "a.png", "captions": ["a"], "split": "extra"}', "'extra'"),
        ('{"image": "a.png", "captions": ["a"]}\n{"image": "a.png", "captions": ["b"]}', "'a.png' twice: in line 1, and again in line 2"),
    ],
)
def test_jsonl_lines_are_checked(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=said):
        read_jsonl(path)


@pytest.mark.skipif(not (DATA / "flickr8k").is_dir(), reason=f"needs {DATA / 'flickr8k'}")
def test_flickr8k_as_it_is_published() -> None:
    data = load_data(DataConfig(source="flickr8k", path=str(DATA / "flickr8k"), image_size=32, min_count=5, num_test=10, max_images=40))
    assert (len(data.train), len(data.dev), len(data.test)) == (40, 40, 10)
    assert data.train.image_ids[0] == "2513260012_03d33305cf.jpg"
    assert data.train.references[0][0] == "A black dog is running after a white dog in the snow ."
    assert all(len(texts) == 5 for texts in data.train.references)
    # Photographs, not noise: neighbouring pixels are alike.
    images = np.asarray(data.train.images, dtype=float)
    assert abs(np.diff(images, axis=-1)).mean() < 0.5 * images.std()


@pytest.mark.skipif(not (DATA / "coco_mini").is_dir(), reason=f"needs {DATA / 'coco_mini'}")
def test_coco_as_it_is_published() -> None:
    settings: dict[str, Any] = {
        "captions": "captions_train2017.json",
        "images": "train2017",
        "dev_captions": "captions_val2017.json",
        "dev_images": "val2017",
    }
    data = load_data(
        DataConfig(source="coco", path=str(DATA / "coco_mini"), image_size=32, skip_broken_images=True, max_images=8, **settings)
    )
    assert len(data.train) == 8 and len(data.dev) == 8
    assert all(len(texts) >= 5 for texts in data.dev.references)
