"""Image processors of transformers, built from their settings: what an encoder sees equals what they give, and what Pillow does by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")

from seqrl.tasks.captioning.policies.pixels import Preparation, check_processor, processed_pixels  # noqa: E402

# Name of CPU time, its settings and the size that comes out.
PROCESSORS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "vit": ("ViT", {}, (224, 224)),
    "deit": ("DeiT", {}, (224, 224)),
    "convnext": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224)),
    "convnext_384": ("ConvNext", {"size": {"shortest_edge": 384}}, (384, 384)),
    "clip": ("CLIP", {}, (224, 224)),
    "siglip": ("Siglip", {"size": {"height": 32, "width": 48}}, (32, 48)),
    "blip": ("Blip", {}, (384, 384)),
    "efficientnet": ("EfficientNet", {"size": {"height": 64, "width": 64}}, (64, 64)),
    "dinov2": ("Bit", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 224)),
    "beit": ("Beit", {"do_center_crop": True}, (224, 224)),
    "levit": ("Levit", {}, (224, 224)),
    "mobilevit": ("MobileViT", {}, (256, 256)),
    "perceiver": ("Perceiver", {}, (224, 224)),
    "poolformer": ("PoolFormer", {}, (224, 224)),
    "pvt": ("Pvt", {}, (224, 224)),
    "padded": ("Vilt", {"size": {"shortest_edge": 64}}, (64, 64)),
    "only_resized": ("ViT", {"do_rescale": False, "do_normalize": False, "size": {"height": 20, "width": 30}}, (20, 30)),
    "nothing": ("ViT", {"do_resize": False, "do_rescale": False, "do_normalize": False}, (50, 50)),
}


def pictures(count: int = 2, size: int = 50) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PROCESSORS)
def test_an_encoder_sees_what_the_processor_gives_for_the_picture(name: str) -> None:
    kind, settings, size = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
    images = pictures()
    ours = processed_pixels(images, processor)
    assert ours.shape == (2, 3, *size) and ours.dtype == torch.float32
    whole = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    theirs = processor(whole, return_tensors="pt")["pixel_values"]
    assert (ours - theirs).abs().max() < 1e-6
    check_processor(processor)


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name not in ("padded", "nothing")])
def test_a_photograph_that_was_prepared_gives_what_the_processor_gives_for_it(name: str) -> None:
    kind, settings, size = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
    prepare = Preparation(processor)
    assert prepare.shape == (3, *size)
    for height, width in ((61, 97), (300, 280)):
        photograph = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))
        stored = prepare(photograph)
        assert stored.dtype == np.uint8
        ours = processed_pixels(torch.from_numpy(stored).unsqueeze(0), processor, prepared=True)
        theirs = processor(photograph, return_tensors="pt")["pixel_values"]
        assert (ours - theirs).abs().max() < 1e-6


def test_processors_whose_pictures_differ_in_size_are_named() -> None:
    with pytest.raises(ValueError, match="ViltImageProcessorPil: expected pictures of one size"):
        Preparation(transformers.ViltImageProcessorPil(size={"shortest_edge": 64}))
    assert Preparation(transformers.DeiTImageProcessorPil()).key != Preparation(transformers.DeiTImageProcessorPil(resample=0)).key


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_deit_by_hand(resample: Image.Resampling) -> None:
    processor = transformers.DeiTImageProcessorPil(resample=resample, image_mean=[0.5, 0.4, 0.3], image_std=[0.5, 0.25, 0.2])
    image = pictures(1)[0]
    big = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((256, 256), resample), dtype=np.float64)
    expected = (big[16:240, 16:240] / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.5, 0.25, 0.2])
    ours = processed_pixels(image.unsqueeze(0), processor)[0].permute(1, 2, 0).double().numpy()
    assert np.abs(ours - expected).max() < 1e-5


def test_convnext_by_hand() -> None:
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 70}, crop_pct=0.7)
    image = pictures(1)[0]
    big = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((100, 100), Image.Resampling.BICUBIC), dtype=np.float64)
    expected = (big[15:85, 15:85] / 255 - 0.5) / 0.5
    ours = processed_pixels(image.unsqueeze(0), processor)[0].permute(1, 2, 0).double().numpy()
    assert np.abs(ours - expected).max() < 1e-5


def shortest(picture: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Resize so that the shorter side is `side` and the longer one is cut to whole pixels, as transformers does."""
    width, height = picture.size
    scaled = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    return picture.resize(scaled, resample)


def centre(picture: Image.Image, height: int, width: int) -> Image.Image:
    top, left = (picture.height - height) // 2, (picture.width - width) // 2
    return picture.crop((left, top, left + width, top + height))


BICUBIC, BILINEAR, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS
# A processor, settings, what Pillow does by hand for them, and what each change of a setting makes of it.
BY_HAND: dict[str, tuple[str, dict[str, Any], Callable[[Image.Image], Image.Image]]] = {
    "clip": ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": 32}, lambda x: centre(shortest(x, 40, BICUBIC), 32, 32)),
    "crop_size": ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": 36}, lambda x: centre(shortest(x, 40, BICUBIC), 36, 36)),
    "size": ("CLIP", {"size": {"shortest_edge": 50}, "crop_size": 32}, lambda x: centre(shortest(x, 50, BICUBIC), 32, 32)),
    "resample": (
        "CLIP",
        {"size": {"shortest_edge": 40}, "crop_size": 32, "resample": 2},
        lambda x: centre(shortest(x, 40, BILINEAR), 32, 32),
    ),
    "lanczos": (
        "CLIP",
        {"size": {"shortest_edge": 40}, "crop_size": 32, "resample": 1},
        lambda x: centre(shortest(x, 40, LANCZOS), 32, 32),
    ),
    "crop_pct": ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.8}, lambda x: centre(shortest(x, 80, BICUBIC), 64, 64)),
    "crop_pct_1": ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 1.0}, lambda x: centre(shortest(x, 64, BICUBIC), 64, 64)),
    "do_center_crop": (
        "DeiT",
        {"size": {"height": 40, "width": 48}, "crop_size": 32},
        lambda x: centre(x.resize((48, 40), BICUBIC), 32, 32),
    ),
    "no_center_crop": ("DeiT", {"size": {"height": 40, "width": 48}, "do_center_crop": False}, lambda x: x.resize((48, 40), BICUBIC)),
    "no_resize": ("DeiT", {"do_resize": False, "crop_size": 32}, lambda x: centre(x, 32, 32)),
    "siglip": ("Siglip", {"size": {"height": 24, "width": 36}}, lambda x: x.resize((36, 24), BICUBIC)),
    "vit": ("ViT", {"size": {"height": 24, "width": 36}}, lambda x: x.resize((36, 24), BILINEAR)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_every_setting_counts_as_pillow_does_it_by_hand(name: str) -> None:
    kind, settings, by_hand = BY_HAND[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
    prepare = Preparation(processor)
    for height, width in ((61, 97), (90, 70)):
        photograph = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))
        stored, expected = prepare(photograph), np.asarray(by_hand(photograph))
        np.testing.assert_array_equal(stored.transpose(1, 2, 0), expected)
        seen = processed_pixels(torch.from_numpy(stored).unsqueeze(0), processor, prepared=True)[0].permute(1, 2, 0).double().numpy()
        assert np.abs(seen - (expected / 255 - processor.image_mean) / processor.image_std).max() < 1e-6
        theirs = processor(photograph, return_tensors="pt")["pixel_values"][0].permute(1, 2, 0).double().numpy()
        assert np.abs(seen - theirs).max() < 1e-6


def test_every_setting_changes_what_is_seen() -> None:
    photograph = Image.fromarray(np.random.default_rng(1).integers(0, 256, (61, 97, 3), dtype=np.uint8))
    seen, keys = {}, set()
    for name, (kind, settings, _) in BY_HAND.items():
        prepare = Preparation(getattr(transformers, f"{kind}ImageProcessorPil")(**settings))
        seen[name] = prepare(photograph).tobytes()
        keys.add(prepare.key)
    assert len(set(seen.values())) == len(keys) == len(BY_HAND)


def test_a_step_that_is_unknown_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ViTImageProcessorPil: unknown step do_solarize; expected only do_resize, "):
        check_processor(transformers.ViTImageProcessorPil(do_solarize=True))
    check_processor(transformers.ViTImageProcessorPil(do_solarize=False))


def test_processors_that_give_something_else_are_refused_by_name() -> None:
    for kind, settings in (("Pix2Struct", {}), ("Siglip2", {}), ("LlavaNext", {}), ("ImageGPT", {"clusters": np.zeros((4, 3))})):
        processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings)
        with pytest.raises(ValueError, match=f"image processor {kind}ImageProcessorPil: "):
            check_processor(processor)
    with pytest.raises(ValueError, match=r"images: expected uint8 \[N, 3, S, S\]"):
        processed_pixels(torch.zeros(1, 3, 8, 8), transformers.ViTImageProcessorPil())


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": {"height": 10**6, "width": 10**6}}, "expected 1 to 4096 pixels as size, got 1000000"),
        ({"size": {"shortest_edge": 10**6}}, "expected 1 to 4096 pixels as size, got 1000000"),
        ({"size": {"height": 32, "width": -1}}, "expected 1 to 4096 pixels as size, got -1"),
        ({"image_mean": [0.5]}, "it does not take a plain image"),
        ({"resample": 99}, "it does not take a plain image"),
        ({"image_std": [0.0, 0.0, 0.0]}, "expected finite numbers for a black image, got -inf; mend its image_std"),
    ],
)
def test_settings_that_no_encoder_has_are_refused_before_they_fill_the_memory(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"image processor ViTImageProcessorPil: {said}"):
        check_processor(transformers.ViTImageProcessorPil(**settings))


def test_a_strip_that_would_become_gigabytes_is_refused() -> None:
    prepare = Preparation(transformers.CLIPImageProcessorPil())
    assert prepare(Image.new("RGB", (100, 1))).shape == prepare(Image.new("RGB", (1, 1))).shape == (3, 224, 224)
    with pytest.raises(ValueError, match="one of 1 x 60000 pixels came, of which at most 100 times as long as high"):
        prepare(Image.new("RGB", (1, 60_000)))
