"""Vision models of transformers as eyes: what they see equals what the model and its processor give for the photograph itself."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")

from seqrl.tasks.captioning.eyes import Eyes, check_eyes, load_encoder, open_eyes  # noqa: E402
from seqrl.tasks.captioning.eyes.transformers_eyes import supported_kinds  # noqa: E402
from seqrl.tasks.captioning.policies import PolicyConfig, build_policy  # noqa: E402
from seqrl.tasks.writing.pretrained import hub  # noqa: E402
from seqrl.tasks.writing.vocabulary import Vocabulary  # noqa: E402

TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SQUARES = {**TRANSFORMER, "image_size": 32, "patch_size": 8}
HALVES = {"vision_config": SQUARES, "text_config": {**TRANSFORMER, "vocab_size": 9}, "projection_dim": 8}
SQUARE = {"size": {"height": 32, "width": 32}}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}

# Name of the model and its settings, name of the processor and its settings, regions and features of one picture.
MODELS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], tuple[int, int]]] = {
    "vit": ("ViT", SQUARES, "ViT", SQUARE, (17, 16)),
    "deit": ("DeiT", SQUARES, "DeiT", CROPPED, (18, 16)),
    "beit": ("Beit", SQUARES, "Beit", SQUARE, (17, 16)),
    "dinov2": ("Dinov2", {**SQUARES, "mlp_ratio": 2}, "Bit", CROPPED, (17, 16)),
    "clip": ("CLIP", HALVES, "CLIP", CROPPED, (17, 16)),
    "clip_vision": ("CLIPVision", SQUARES, "CLIP", CROPPED, (17, 16)),
    "siglip": ("Siglip", HALVES, "Siglip", SQUARE, (16, 16)),
    "resnet": (
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ConvNext",
        {"size": {"shortest_edge": 40}, "crop_pct": 0.8},
        (25, 16),
    ),
    "convnext": (
        "ConvNext",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        "ConvNext",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.9},
        (16, 16),
    ),
    "swin": (
        "Swin",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "ViT",
        SQUARE,
        (16, 16),
    ),
    "mobilenet_v2": (
        "MobileNetV2",
        {"image_size": 32, "depth_multiplier": 0.1, "depth_divisible_by": 2},
        "MobileNetV2",
        CROPPED,
        (1, 1280),
    ),
}


def save(folder: Path, name: str) -> Any:
    """Save a tiny model of random weights with its processor; gives the model."""
    kind, settings, processor, steps, _ = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings)).eval()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_(0.0, 0.1)
    model.save_pretrained(folder)
    getattr(transformers, f"{processor}ImageProcessorPil")(**steps).save_pretrained(folder)
    return model


def photograph(height: int = 61, width: int = 97) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def look(eyes: Any, *pictures: Image.Image) -> torch.Tensor:
    return eyes(torch.from_numpy(np.stack([eyes.prepare(picture) for picture in pictures])))


@pytest.mark.parametrize("name", MODELS)
def test_features_equal_those_of_the_model_and_its_processor(name: str, tmp_path: Path) -> None:
    model, size = save(tmp_path, name), MODELS[name][-1]
    eyes = open_eyes(str(tmp_path))
    assert isinstance(eyes, Eyes) and (eyes.num_regions, eyes.feature_dim) == size
    pictures = [photograph(), photograph(80, 50)]
    seen = look(eyes, *pictures)
    processor = getattr(transformers, f"{MODELS[name][2]}ImageProcessorPil").from_pretrained(tmp_path)
    with torch.no_grad():
        part = getattr(model, "vision_model", model)
        theirs = part(pixel_values=processor(pictures, return_tensors="pt")["pixel_values"]).last_hidden_state
    theirs = theirs if theirs.ndim == 3 else theirs.flatten(2).transpose(1, 2)
    assert seen.shape == theirs.shape == (2, *size) and not seen.requires_grad
    assert seen.std() > 0 and (seen - theirs).abs().max() < 1e-5 * max(1, theirs.abs().max())


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet")
    save(folder, "resnet")
    return folder


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    save(tmp_path / "vit", "vit")
    return tmp_path / "vit"


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_learns_changes_but_for_its_statistics(resnet: Path) -> None:
    eyes, learner = open_eyes(str(resnet)), load_encoder(str(resnet)).train()
    images = torch.randint(0, 256, (2, *eyes.prepare.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = {key: tensor.clone() for key, tensor in learner.state_dict().items()}
    learned = learner(images)
    torch.testing.assert_close(learned["regions"], eyes(images))
    torch.testing.assert_close(learned["pooled"], eyes(images).mean(dim=1))
    learned["pooled"].square().sum().backward()
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    changed = {key for key, tensor in learner.state_dict().items() if not torch.equal(before[key], tensor)}
    assert changed == {key for key, _ in learner.named_parameters()}
    again = load_encoder(str(resnet))
    again.load_state_dict(learner.state_dict())
    torch.testing.assert_close(again(images)["regions"], learner(images)["regions"])


def test_what_the_regions_do_not_depend_on_does_not_learn(tmp_path: Path) -> None:
    save(tmp_path, "clip_vision")
    learner = load_encoder(str(tmp_path))
    fixed = {key for key, parameter in learner.named_parameters() if not parameter.requires_grad}
    assert {key.split(".")[-2] for key in fixed} == {"post_layernorm"}
    learner(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))["pooled"].square().sum().backward()
    assert {key for key, parameter in learner.named_parameters() if parameter.grad is None} == fixed
    config = PolicyConfig(encoder=str(tmp_path), freeze_encoder=False, dim=8, num_heads=2)
    policy = build_policy(config, Vocabulary(["dog"]), 32)
    assert {key for key, parameter in policy.named_parameters() if not parameter.requires_grad} == {f"encoder.{key}" for key in fixed}


def test_the_key_changes_with_weights_and_preprocessing(vit: Path) -> None:
    key = open_eyes(str(vit)).key
    assert open_eyes(str(vit)).key == key, "poolers of random weights do not count"
    moved = vit.with_name("moved")
    shutil.copytree(vit, moved)
    assert open_eyes(str(moved)).key == key
    edit(moved / "preprocessor_config.json", lambda content: content.update(resample=0))
    assert open_eyes(str(moved)).key != key
    shutil.copy(vit / "preprocessor_config.json", moved)
    model = transformers.ViTModel.from_pretrained(moved)
    with torch.no_grad():
        model.layernorm.bias[0] += 1e-3
    model.save_pretrained(moved)
    assert open_eyes(str(moved)).key != key


def test_a_classifier_is_opened_without_its_pooler(vit: Path) -> None:
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SQUARES))
    model.save_pretrained(vit)
    first, again = open_eyes(str(vit)), open_eyes(str(vit))
    assert first.key == again.key
    torch.testing.assert_close(look(first, photograph()), look(again, photograph()))


@pytest.mark.parametrize("call", [check_eyes, open_eyes, load_encoder])
def test_names_that_are_nothing(call: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"efficientnet_lite0, .* got 'efficientnet-lite0'; did you mean 'efficientnet_lite0'\?"):
        call("efficientnet-lite0")
    with pytest.raises(
        FileNotFoundError, match=r"encoder: expected a folder with a vision model of transformers, got .*/none, which does not"
    ):
        call(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="the folder .*, which holds no config.json"):
        call(str(tmp_path))
    (tmp_path / "config.json").write_text("[1, 2")
    with pytest.raises((ValueError, FileNotFoundError), match="encoder: "):
        call(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "none_such"}')
    with pytest.raises(ValueError, match="encoder: expected a vision model .* whose config.json is of none"):
        call(str(tmp_path))


def test_a_hub_name_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match="encoder: could not load nobody/nothing as a folder or from the hub; .*network and give the folder"
    ):
        check_eyes("nobody/nothing")


@pytest.mark.parametrize("proxies", [{}, {"https": "http://proxy"}])
def test_where_no_hub_can_be_asked_it_is_not_tried_for_minutes(proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    asked: list[bool] = []

    def config(name: str, **settings: Any) -> None:
        asked.append(settings["local_files_only"])
        raise OSError("nothing here")

    hub._hub_is_out_of_reach.cache_clear()
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    monkeypatch.setattr(hub.AutoConfig, "from_pretrained", config)
    with pytest.raises(FileNotFoundError, match="could not load nobody/nothing as a folder or from the hub"):
        check_eyes("nobody/nothing")
    assert asked == [not proxies]
    hub._hub_is_out_of_reach.cache_clear()


def test_models_that_see_nothing_are_refused_by_kind(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"whose kind is 'bert'; these are known: .*beit.* clip.* dinov2.* resnet.* siglip.* vit"):
        check_eyes(str(tmp_path))
    kinds = {"vit", "deit", "beit", "dinov2", "clip", "clip_vision_model", "siglip", "siglip_vision_model", "resnet", "convnext", "swin"}
    assert kinds < set(supported_kinds()) and not {"bert", "gpt2", "detr", "vit_mae"} & set(supported_kinds())
    edit(tmp_path / "config.json", lambda content: content.update(model_type="vision-encoder-decoder", encoder=SQUARES, decoder={}))
    with pytest.raises((ValueError, FileNotFoundError), match="encoder: "):
        check_eyes(str(tmp_path))


def test_image_processors_that_do_not_fit(vit: Path) -> None:
    steps = vit / "preprocessor_config.json"
    whole = steps.read_text()
    edit(steps, lambda content: content.update(do_solarize=True))
    with pytest.raises(ValueError, match=r"ViTImageProcessorPil: unknown step do_solarize; expected only do_resize, do_center_crop"):
        check_eyes(str(vit))
    edit(steps, lambda content: content.update(do_solarize=False))
    check_eyes(str(vit))
    edit(steps, lambda content: content.update(image_processor_type="NoneSuchImageProcessor"))
    with pytest.raises(ValueError, match=r"the image processor of .* cannot be used"):
        check_eyes(str(vit))
    steps.unlink()
    with pytest.raises(FileNotFoundError, match="could not load the image processor of "):
        check_eyes(str(vit))
    steps.write_text(whole)
    edit(steps, lambda content: content.update(size={"height": 40, "width": 40}))
    check_eyes(str(vit))
    with pytest.raises(ValueError, match=r"\(ViTModel\) does not see the pictures \[3, 40, 40\] that its image processor makes"):
        open_eyes(str(vit))


def test_damaged_weights_are_refused(vit: Path) -> None:
    file = vit / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="encoder: .* (are damaged|does not load)"):
        open_eyes(str(vit))
    transformers.Dinov2Model(transformers.Dinov2Config(**SQUARES)).save_pretrained(vit.parent / "other")
    shutil.copy(vit.parent / "other" / "model.safetensors", file)
    with pytest.raises(
        ValueError, match="lacks .* weights of ViTModel, such as .*, or has them in another shape; its files are damaged or another model's"
    ):
        open_eyes(str(vit))
    transformers.ViTModel(transformers.ViTConfig(**{**SQUARES, "intermediate_size": 48})).save_pretrained(vit.parent / "wide")
    shutil.copy(vit.parent / "wide" / "model.safetensors", file)
    with pytest.raises(ValueError, match=r"lacks 3 weights of ViTModel, such as layers.0.mlp.fc1.bias, .*, or has them in another shape"):
        open_eyes(str(vit))
    file.unlink()
    with pytest.raises(FileNotFoundError, match="encoder: could not load"):
        open_eyes(str(vit))


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (self.path.touch, ())


def test_weights_that_would_run_code_or_are_no_pickle_are_refused(vit: Path) -> None:
    (vit / "model.safetensors").unlink()
    torch.save({"layernorm.bias": _Evil(vit / "ran")}, vit / "pytorch_model.bin")
    with pytest.raises(ValueError, match="encoder: .* does not load as a vision model .* never unpacked; take a copy with .safetensors"):
        open_eyes(str(vit))
    assert not (vit / "ran").exists()
    for junk in (b"no pickle at all", b"junk", b""):
        (vit / "pytorch_model.bin").write_bytes(junk)
        with pytest.raises(ValueError, match="encoder: .* does not load as a vision model"):
            open_eyes(str(vit))


def test_a_configuration_of_another_type_is_refused(vit: Path) -> None:
    edit(vit / "config.json", lambda content: content.update(hidden_size="big"))
    with pytest.raises(ValueError, match="whose config.json is of none .*hidden_size"):
        check_eyes(str(vit))
