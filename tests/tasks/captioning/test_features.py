"""Frozen eyes look at every image once: what is kept, what training reads, and what happens when somebody interrupts."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import fake_eyes
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.run.cli import main
from seqrl.tasks.captioning import cache as cache_module
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.features import load_features
from seqrl.tasks.captioning.image_stores import FolderStore
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy
from seqrl.tasks.captioning.policies.feature_encoder import FeatureEncoder, FeatureShape
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.trajectory import Trajectory

NAMES = [f"{index}.png" for index in range(6)]
# Left and right half of each picture.
COLOURS = [((40 * index, 10, 0), (0, 20 * index, 200)) for index in range(6)]
CONFIG = """
name: run
num_updates: 2
eval_every: 1
save_every: 2
num_threads: 1
runs_folder: {root}/runs
task:
  type: captioning
  images_per_batch: 2
  flip: true
  data: {{source: flickr8k, path: {root}/data}}
  policy: {{encoder: some/eyes, dim: 16, num_layers: 1, num_heads: 2, max_tokens: 6}}
trainer: {{type: self_critical, num_samples: 2, optimiser: {{precision: fp32}}}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> fake_eyes.FakeEyes:
    return fake_eyes.install(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for name, (left, right) in zip(NAMES, COLOURS, strict=True):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[:, :8], picture[:, 8:] = left, right
        Image.fromarray(picture).save(folder / "images" / name)
    lines = [f"{name}#{k}\tA dog, number {index}, runs .\n" for index, name in enumerate(NAMES) for k in range(2)]
    (folder / "token.txt").write_text("".join(lines))
    for part, names in (("train", NAMES[:3]), ("dev", NAMES[3:])):
        (folder / f"{part}Images.txt").write_text("\n".join(names) + "\n")
    return folder


def expected(*indices: int, mirrored: bool = False) -> np.ndarray:
    halves = [COLOURS[index][::-1] if mirrored else COLOURS[index] for index in indices]
    return np.array(halves, dtype=np.float64) / 255


def config(root: Path, **settings: Any) -> CaptioningConfig:
    data = DataConfig(source="flickr8k", path=str(root), num_test=1)
    return CaptioningConfig(data, PolicyConfig(encoder="some/eyes", dim=8, num_layers=1, num_heads=2), images_per_batch=2, **settings)


def close(found: Any, wanted: np.ndarray) -> bool:
    return bool(found.dtype == np.float16) and found.shape == wanted.shape and bool(np.abs(found - wanted).max() < 1e-3)


def test_the_features_of_all_splits_are_computed_once_and_then_mapped(root: Path, eyes: fake_eyes.FakeEyes) -> None:
    data = config(root).build(0).data
    assert close(data.train.images, expected(0, 1, 2)) and close(data.dev.images, expected(3, 4)) and close(data.test.images, expected(5))
    assert eyes.shown == 6 and data.train.mirrored is None
    again = config(root).build(1).data
    assert eyes.shown == 6 and isinstance(again.train.images, np.memmap) and not again.train.images.flags.writeable
    assert close(again.train.images, expected(0, 1, 2))


def test_the_mirrored_images_take_turns_with_the_others(root: Path, eyes: fake_eyes.FakeEyes) -> None:
    task = config(root, flip=True).build(0)
    assert close(task.data.train.mirrored, expected(0, 1, 2, mirrored=True)) and eyes.shown == 6 + 3
    plain, mirrored = expected(0, 1, 2), expected(0, 1, 2, mirrored=True)
    seen = set()
    for _ in range(30):
        rows = task.demonstrations()
        assert isinstance(rows.context, dict) and rows.group is not None
        for image, item in zip(rows.context["image"].numpy(), rows.group.tolist(), strict=True):
            same, other = np.abs(image - plain[item]).max() < 1e-3, np.abs(image - mirrored[item]).max() < 1e-3
            assert same != other
            seen.add((item, bool(other)))
    assert len(seen) == 6
    # Samples, and references beside them, are of the images as they are.
    policy = task.build_policy()
    rows = task.rollout(policy, num_samples=2)
    beside = task.demonstrations(rows.group)
    for part in (rows, beside):
        assert isinstance(part.context, dict) and part.group is not None
        assert np.abs(part.context["image"].numpy() - plain[part.group.numpy()]).max() < 1e-3


@pytest.mark.parametrize("encoder", ["some/eyes", "scenes"])
def test_rollouts_may_take_mirrored_images_too(encoder: str, root: Path, eyes: fake_eyes.FakeEyes) -> None:
    settings = config(root, flip_rollouts=True)
    settings.policy.encoder, settings.data.image_size = encoder, 16
    task = settings.build(0)
    policy, seen = task.build_policy(), set()
    for _ in range(15):
        rows = task.rollout(policy, num_samples=2)
        assert isinstance(rows.context, dict) and rows.group is not None
        for image, item in zip(rows.context["image"].numpy(), rows.group.tolist(), strict=True):
            if encoder == "scenes":
                image = fake_eyes.by_hand(image)
            (found,) = [flip for flip in (False, True) if np.abs(image - expected(item, mirrored=flip)[0]).max() < 1e-3]
            seen.add((item, found))
    assert len(seen) == 6


def test_other_eyes_other_images_and_a_missing_half_are_computed_again(root: Path, eyes: fake_eyes.FakeEyes, cache: Path) -> None:
    store = FolderStore(root / "images")
    load_features(store, NAMES, eyes)
    eyes.key = "fake-2"  # type: ignore[misc]
    load_features(store, NAMES, eyes)
    assert eyes.shown == 12
    Image.new("RGB", (16, 16), (255, 255, 255)).save(root / "images" / "0.png")
    assert close(load_features(store, NAMES, eyes)[0][:1], np.ones((1, 2, 3)))
    assert eyes.shown == 18
    for path in (cache / "features").glob("*.json"):
        path.unlink()
    load_features(store, NAMES, eyes)
    assert eyes.shown == 24


def change_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


DAMAGES = {
    "a byte": ("*.npy", change_a_byte),
    "cut": ("*.npy", lambda path: path.write_bytes(path.read_bytes()[:-10])),
    "only a header": ("*.npy", lambda path: path.write_bytes(path.read_bytes()[:60])),
    "empty": ("*.npy", lambda path: path.write_bytes(b"")),
    "another form": ("*.npy", lambda path: np.save(path, np.zeros((6, 2, 4), np.float16))),
    "objects": ("*.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True)),
    "list cut": ("*.json", lambda path: path.write_text('{"na')),
    "list of something else": ("*.json", lambda path: path.write_text("[1]")),
    "list of fewer": ("*.json", lambda path: path.write_text('{"kept": [true]}')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_changed_in_the_cache_is_made_again(
    damage: str, root: Path, eyes: fake_eyes.FakeEyes, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, (which, change) = FolderStore(root / "images"), DAMAGES[damage]
    load_features(store, NAMES, eyes)
    for path in (cache / "features").glob(which):
        change(path)
        os.utime(path, (1, 1))  # a file written within a tick of the clock has the same time
    features, kept = load_features(store, NAMES, eyes)
    assert close(features, expected(*range(6))) and kept == [True] * 6
    assert eyes.shown == 12 and "made again" in caplog.text
    load_features(store, NAMES, eyes)
    assert eyes.shown == 12


def test_a_list_of_an_earlier_version_still_counts(root: Path, eyes: fake_eyes.FakeEyes, cache: Path) -> None:
    load_features(FolderStore(root / "images"), NAMES, eyes)
    (path,) = (cache / "features").glob("*.json")
    path.write_text(json.dumps({"names": NAMES, "kept": [True] * 6}))
    load_features(FolderStore(root / "images"), NAMES, eyes)
    assert eyes.shown == 6


def test_a_disk_that_fills_up_says_what_to_do(root: Path, eyes: fake_eyes.FakeEyes, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.RowWriter, "append", full)
    with pytest.raises(OSError, match="features: the disk is full; make room, or set SEQRL_CACHE to another disk"):
        load_features(FolderStore(root / "images"), NAMES, eyes)
    assert list((cache / "features").iterdir()) == []


def test_broken_images_are_left_out_and_captions_stay_with_their_images(root: Path, eyes: fake_eyes.FakeEyes) -> None:
    (root / "images" / "1.png").write_bytes(b"none")
    (root / "images" / "3.png").unlink()
    settings = config(root, flip=True)
    settings.data.skip_broken_images, settings.data.num_test = True, 0
    data = settings.build(0).data
    assert data.train.image_ids == ["0.png", "2.png"] and data.dev.image_ids == ["4.png", "5.png"]
    assert close(data.train.images, expected(0, 2)) and close(data.train.mirrored, expected(0, 2, mirrored=True))
    assert "2" in data.train.words[1][0] and data.train.picture(1)[0, 0, 0] == 80


def test_an_interruption_leaves_nothing_and_ends_at_once(
    root: Path, eyes: fake_eyes.FakeEyes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqrl.tasks.captioning.features._IMAGES_A_BATCH", 2)

    def interrupted(images: torch.Tensor) -> torch.Tensor:
        if eyes.shown == 2:
            raise KeyboardInterrupt
        return fake_eyes.FakeEyes.__call__(eyes, images)

    class Stopping(fake_eyes.FakeEyes):
        __call__ = staticmethod(interrupted)  # type: ignore[assignment]

    with pytest.raises(KeyboardInterrupt):
        load_features(FolderStore(root / "images"), NAMES, Stopping())
    assert list((cache / "features").iterdir()) == [] and eyes.shown == 2


def test_without_a_cache_folder_the_features_stay_in_memory(
    root: Path, tmp_path: Path, eyes: fake_eyes.FakeEyes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "occupied"))
    features, kept = load_features(FolderStore(root / "images"), NAMES, eyes)
    assert close(features, expected(*range(6))) and all(kept) and "keeping 6 features in memory" in caplog.text


def test_the_disk_is_looked_at_before_anything_is_computed(root: Path, eyes: fake_eyes.FakeEyes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 6 * 2 * 3 * 2 - 1  # one byte too few

    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(OSError, match="GB free for features.*SEQRL_CACHE"):
        load_features(FolderStore(root / "images"), NAMES, eyes)
    assert eyes.shown == 0


def test_features_beyond_16_bits_are_refused(root: Path, eyes: fake_eyes.FakeEyes, cache: Path) -> None:
    class Loud(fake_eyes.FakeEyes):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return super().__call__(images) * 1e6

    with pytest.raises(ValueError, match="fake: expected finite features of at most 65504, got "):
        load_features(FolderStore(root / "images"), NAMES, Loud())
    assert list((cache / "features").iterdir()) == []


def test_drawn_scenes_go_through_the_same_eyes(eyes: fake_eyes.FakeEyes) -> None:
    data = DataConfig(image_size=16, scenes=ScenesConfig(num_train=4, num_dev=2, num_test=0))
    drawn = load_data(data)
    task = CaptioningConfig(data, PolicyConfig(encoder="some/eyes", dim=8, num_heads=2), flip=True).build(0)
    # Every second pixel of 16 is what the nearest of 8 is.
    wanted = np.stack([fake_eyes.by_hand(picture[:, 1::2, 1::2]) for picture in drawn.train.images])
    assert close(task.data.train.images, wanted) and close(task.data.train.mirrored, wanted[:, ::-1])
    assert np.array_equal(task.data.dev.picture(1), drawn.dev.images[1]) and task.data.dev.scenes is not None
    assert "facts_right" in task.evaluate(task.build_policy())


@pytest.mark.parametrize("source", ["coco", "karpathy", "jsonl", "datasets", "zip"])
def test_every_source_of_photographs(source: str, root: Path, tmp_path: Path, eyes: fake_eyes.FakeEyes) -> None:
    captions = {name: f"a cat {index}" for index, name in enumerate(NAMES)}
    settings: dict[str, Any] = {"source": source, "path": str(root), "num_dev": 3, "captions": "mine.json"}
    if source == "coco":
        images = [{"id": index, "file_name": name} for index, name in enumerate(NAMES)]
        content = {"images": images, "annotations": [{"image_id": image["id"], "caption": f"a cat {image['id']}"} for image in images]}
        (root / "mine.json").write_text(json.dumps(content))
    elif source == "karpathy":
        splits = ["train"] * 3 + ["val"] * 3
        rows = [
            {"filename": name, "split": split, "sentences": [{"raw": captions[name]}]} for name, split in zip(NAMES, splits, strict=True)
        ]
        (root / "mine.json").write_text(json.dumps({"images": rows}))
        settings["num_dev"] = 0
    elif source == "jsonl":
        (root / "mine.json").write_text("".join(json.dumps({"image": name, "captions": [text]}) + "\n" for name, text in captions.items()))
    elif source == "zip":
        with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
            for name in NAMES:
                archive.write(root / "images" / name, name)
        settings = {"source": "flickr8k", "path": str(root), "images": "pictures.zip"}
    else:
        datasets = pytest.importorskip("datasets")
        columns = {"image": [str(root / "images" / name) for name in NAMES], "captions": [[text] for text in captions.values()]}
        rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
        datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "saved"))
        settings = {"source": source, "path": str(tmp_path / "saved"), "num_dev": 3}
    data = load_data(DataConfig(**settings), eyes=eyes)
    numbers = {
        split.name: [int(words[0][-1]) if source != "zip" else int(words[0][3]) for words in split.words]
        for split in (data.train, data.dev)
    }
    assert sorted(numbers["train"] + numbers["dev"]) == list(range(6)) and len(numbers["dev"]) == 3
    assert close(data.train.images, expected(*numbers["train"])) and close(data.dev.images, expected(*numbers["dev"]))
    assert data.dev.picture(0)[2, 0, -1] == 200


def test_max_images_keeps_the_first(root: Path, eyes: fake_eyes.FakeEyes) -> None:
    data = load_data(DataConfig(source="flickr8k", path=str(root), max_images=2), eyes=eyes)
    assert close(data.train.images, expected(0, 1)) and close(data.dev.images, expected(3, 4)) and eyes.shown == 4


def test_a_whole_run_with_evaluation_gallery_and_resume(
    root: Path, tmp_path: Path, eyes: fake_eyes.FakeEyes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=tmp_path))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert eyes.shown == 6 + 3
    folder = tmp_path / "runs" / "run"
    assert main(["evaluate", str(folder)]) == 0
    assert main(["sample", str(folder)]) == 0
    assert main(["resume", str(folder), "--num_updates=3"]) == 0
    supervised = "--trainer={type: supervised, optimiser: {precision: fp32}}"
    assert main(["train", str(tmp_path / "run.yaml"), "--name=next", f"--init_from={folder}", supervised]) == 0
    assert eyes.shown == 6 + 3
    # Weights that were trained with other eyes are refused.
    eyes.key = "fake-2"  # type: ignore[misc]
    assert main(["evaluate", str(folder)]) == 2
    assert "eyes: fake-1 in the checkpoint, fake-2 now" in capsys.readouterr().err


def test_the_adapter_by_hand() -> None:
    torch.manual_seed(0)
    encoder = FeatureEncoder(FeatureShape(2, 3), dim=4, dropout=0.0)
    features = torch.randn(5, 2, 3)
    given: Any = encoder(features.half())
    rounded = features.half().double().numpy()
    wide = rounded @ encoder.project.weight.detach().double().numpy().T + encoder.project.bias.detach().double().numpy()
    assert encoder.position is not None
    wanted = (wide - wide.mean(axis=2, keepdims=True)) / np.sqrt(wide.var(axis=2, keepdims=True) + 1e-5)
    wanted += encoder.position.detach().double().numpy()
    assert np.abs(given["regions"].detach().numpy() - wanted).max() < 1e-5
    assert np.abs(given["pooled"].detach().numpy() - wanted.mean(axis=1)).max() < 1e-5 and "mask" not in given


def test_regions_that_do_not_count_do_not_count() -> None:
    encoder = FeatureEncoder(FeatureShape(3, 2, varies=True), dim=4, dropout=0.0)
    features, mask = torch.randn(2, 3, 2), torch.tensor([[True, False, False], [True, True, True]])
    given: Any = encoder({"regions": features, "mask": mask})
    assert encoder.position is None and torch.equal(given["mask"], mask)
    assert torch.allclose(given["pooled"][0], given["regions"][0, 0])
    features[0, 1:] = 50.0
    assert torch.allclose(encoder({"regions": features, "mask": mask})["pooled"], given["pooled"])  # type: ignore[index, call-overload]


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 2, 4), torch.zeros(2, 3, 3)])
def test_other_forms_than_the_features_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"images: expected features \[N, 2, 3\]"):
        FeatureEncoder(FeatureShape(2, 3), dim=4, dropout=0.0)(images)


def test_flips_without_features_of_mirrored_images_are_refused(root: Path, eyes: fake_eyes.FakeEyes) -> None:
    settings = config(root, flip=True)
    with pytest.raises(ValueError, match=r"flip: expected the features of the mirrored images.*mirrored=True"):
        CaptioningTask(settings, load_data(settings.data, eyes=eyes))


def test_what_is_frozen() -> None:
    assert not PolicyConfig().encoder_is_frozen and not PolicyConfig(type="pretrained").encoder_is_frozen
    assert PolicyConfig(encoder="efficientnet_lite0").encoder_is_frozen and PolicyConfig(encoder="features").encoder_is_frozen
    assert not PolicyConfig(encoder="a/b", freeze_encoder=False).encoder_is_frozen and PolicyConfig(freeze_encoder=True).encoder_is_frozen
    with pytest.raises(ValueError, match="did you mean 'photographs'"):
        PolicyConfig(encoder="photograph")
    for settings, said in (
        ({"encoder": "features", "freeze_encoder": False}, "policy.freeze_encoder: features of one's own cannot be learned"),
        ({"type": "pretrained", "encoder": "efficientnet_lite0"}, "policy.encoder: type pretrained has an encoder of its own"),
    ):
        with pytest.raises(ValueError, match=said):
            PolicyConfig(**settings).check_encoder()  # type: ignore[arg-type]


def test_the_adapter_learns_although_the_eyes_are_frozen() -> None:
    class Words(list[str]):
        begin, end, pad, unknown = 1, 2, 0, 3

    policy: Any = build_policy(PolicyConfig(encoder="a/b", dim=8, num_heads=2), Words("abcdefgh"), 64, features=FeatureShape(2, 3))
    assert all(parameter.requires_grad for parameter in policy.parameters()) and not policy.freeze_encoder


@pytest.mark.parametrize(("shape", "said"), [(FeatureShape(5, 3), "got 5 of them"), (FeatureShape(4, 3, True), "a number that varies")])
def test_metrics_are_looked_for_in_grids_alone(shape: FeatureShape, said: str) -> None:
    class Words(list[str]):
        begin, end, pad = 1, 2, 0

    config = PolicyConfig(encoder="a/b", dim=8, num_heads=2, figure_detection=0.5)
    assert build_policy(config, Words("abcdefgh"), 64, features=FeatureShape(4, 3))
    with pytest.raises(ValueError, match=f"figure_detection: expected regions of a square grid.*{said}"):
        build_policy(config, Words("abcdefgh"), 64, features=shape)


def test_16_bit_features_whose_sum_is_beyond_16_bits_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dict.fromkeys(("logp", "reward"), torch.zeros(2, 1)) | dict.fromkeys(("terminated", "truncated"), torch.zeros(2, 1).bool())
    rows |= {"action": torch.zeros(2, 1, dtype=torch.long), "value": torch.zeros(2, 2)}
    looked: list[int] = []
    monkeypatch.setattr("seqrl.padding._silenced", lambda counts, leaf: looked.append(1) or leaf)
    features = torch.full((2, 100, 200), 60.0, dtype=torch.float16)
    for broken in (0.0, float("nan"), float("inf"), -float("inf")):
        features[1, 5, 5] = broken
        Trajectory(**rows, mask=torch.tensor([[True], [False]]), context={"image": features})
        assert bool(looked) == bool(broken)
