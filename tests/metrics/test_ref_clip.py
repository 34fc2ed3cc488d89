"""CLIPScore and RefCLIPScore: against a direct computation with a tiny CLIP, and with vectors that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.ref_clip import RefClipScore


class Plane:
    """Sees an angle in degrees as a direction, and reads the last word of a text as one."""

    def encode_images(self, images: list[float]) -> np.ndarray:
        return np.stack([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in images]).astype(np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return self.encode_images([float((text.split() or ["0"])[-1]) if text.split()[-1:] != ["depicts"] else 0.0 for text in texts])


def plane() -> RefClipScore:
    metric = RefClipScore(model="plane")
    metric.__dict__["encoder"] = Plane()
    return metric


def test_by_hand() -> None:
    images = [0.0, 90.0, 0.0, 0.0]
    captions: list[Any] = ["it is 60", ["it", "is", "90"], "180", ""]
    assert plane().score(captions, images=images) == pytest.approx([2.5 * 0.5, 2.5, 0.0, 0.0], abs=1e-6)
    references = [["0", "60"], ["30"], ["180"], ["0"]]
    # harmonic means of 1.25 and 1, and of 2.5 and 1/2
    expected = [2 * 1.25 / 2.25, 2 * 2.5 * 0.5 / 3.0, 0.0, 0.0]
    assert plane().score(captions, references, images=images) == pytest.approx(expected, abs=1e-6)
    assert plane().corpus(captions, references, images=images) == pytest.approx(np.mean(expected), abs=1e-6)
    prepared = plane().prepare(images, references)
    assert prepared.score(["90", "60", "60"], [1, 0, 0]) == pytest.approx([expected[1], expected[0], expected[0]], abs=1e-6)


def test_what_is_missing_is_said() -> None:
    metric = metric_by_name("ref_clip_score")
    with pytest.raises(ValueError, match="looks at images, and words alone were given"):
        metric.score(["a"], [["a"]])
    with pytest.raises(ValueError, match="folder or hub name of a CLIP, got none"):
        metric.score(["a"], images=[0.0])
    with pytest.raises(ValueError, match="1 captions and 2 images"):
        plane().score(["0"], images=[0.0, 1.0])
    with pytest.raises(ValueError, match="2 images and 1 lists"):
        plane().score(["0", "0"], [["0"]], images=[0.0, 1.0])
    with pytest.raises(ValueError, match="item 0 has no references"):
        plane().score(["0"], [[]], images=[0.0])


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with random weights, a tokenizer of letters and a processor of 16 by 16 pixels."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77).save_pretrained(folder)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.5}
    text = {"vocab_size": len(tokens), "max_position_embeddings": 40, "bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1}
    config = transformers.CLIPConfig(
        text_config={**layers, **text}, vision_config={**layers, "image_size": 16, "patch_size": 8}, projection_dim=12
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor", **size}))
    return folder


@pytest.mark.slow
def test_agrees_with_a_direct_computation(tiny_clip: Path, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from PIL import Image

    arrays = np.random.default_rng(0).integers(0, 256, (3, 20, 16, 3), dtype=np.uint8)
    Image.fromarray(arrays[2]).save(tmp_path / "third.png")
    images = [Image.fromarray(arrays[0]), arrays[1], tmp_path / "third.png"]
    captions = ["a dog", "two cats on a very long sofa that goes on and on", "zebra"]
    references = [["the dog", "a cat"], ["sofa"], ["a horse", "zebra", "stripes"]]
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tiny_clip)
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_clip, backend="pil")

    @torch.no_grad()
    def texts(sentence: str) -> Any:
        ids = tokenizer("A photo depicts " + sentence, return_tensors="pt", truncation=True, max_length=40)
        pooled = model.text_projection(model.text_model(**ids).pooler_output)[0].double()
        return pooled / pooled.norm()

    @torch.no_grad()
    def pictures(array: np.ndarray) -> Any:
        pixels = processor(images=Image.fromarray(array), return_tensors="pt")["pixel_values"]
        pooled = model.visual_projection(model.vision_model(pixels).pooler_output)[0].double()
        return pooled / pooled.norm()

    seen, both = [], []
    for caption, rows, array in zip(captions, references, arrays, strict=True):
        fits = 2.5 * max(float(texts(caption) @ pictures(array)), 0.0)
        read = max(max(float(texts(caption) @ texts(row)) for row in rows), 0.0)
        seen.append(fits)
        both.append(2 / (1 / fits + 1 / read) if fits and read else 0.0)
    metric = RefClipScore(model=str(tiny_clip), batch_size=2)
    assert max(both) > 0
    np.testing.assert_allclose(metric.score(captions, images=images), seen, rtol=0, atol=1e-5)
    np.testing.assert_allclose(metric.score(captions, references, images=images), both, rtol=0, atol=1e-5)
    odd = metric.score(["\ud800", "", "a" * 10_000], references, images=images)
    assert np.isfinite(odd).all() and (odd >= 0).all() and odd[1] == 0
    with pytest.raises(ValueError, match="expected Pillow images"):
        metric.score(["a"], images=[np.zeros((4, 4))])


@pytest.mark.slow
def test_a_folder_that_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder or hub name of a CLIP"):
        RefClipScore(model=str(tmp_path)).score(["a"], images=[np.zeros((4, 4, 3), np.uint8)])
