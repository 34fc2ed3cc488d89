"""One vector an image and one a text, by a CLIP of transformers; torch is loaded when the first encoder is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.limits import brief, require_regular


class ClipEncoder:
    """Encodes images and texts with length 1.

    Args:
        name: folder or hub name of a CLIP, or of a model with its methods; weights have to be safetensors, and no code comes with them.
        batch_size: images or texts encoded at a time.
        device: of the model.

    Raises:
        ValueError: for a model that cannot be loaded, or that does not see and read.
    """

    def __init__(self, name: str, *, batch_size: int = 32, device: str = "cpu") -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        try:
            self.processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False, backend="pil")
            self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model: Any = AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{name}: expected a folder or hub name of a CLIP with its processor, and weights as safetensors; {error}"
            ) from error
        if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
            raise ValueError(f"{name}: expected a CLIP, which sees and reads, got {type(model).__name__}; name another model")
        self.model = model.eval().requires_grad_(False).to(device)
        self.batch_size, self.device = batch_size, device
        text = getattr(model.config, "text_config", model.config)
        self.max_tokens = min(self.tokenizer.model_max_length, getattr(text, "max_position_embeddings", 77))

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Give a vector of length 1 for each image: a Pillow image, an array [H, W, 3] of uint8, or the name of a file."""

        def encode(batch: Sequence[Any]) -> Any:
            pixels = self.processor(images=[_rgb(image) for image in batch], return_tensors="pt")["pixel_values"]
            return self.model.get_image_features(pixel_values=pixels.to(self.device))

        return self._encoded(images, encode)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give a vector of length 1 for each text; what is longer than the model can read is cut off."""
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # no tokenizer takes lone surrogates

        def encode(batch: Sequence[str]) -> Any:
            tokens = self.tokenizer(list(batch), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
            given = {key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask") if key in tokens}
            return self.model.get_text_features(**given)

        return self._encoded(clean, encode)

    def _encoded(self, values: Sequence[Any], encode: Callable[[Sequence[Any]], Any]) -> NDArray[np.float32]:
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(values), self.batch_size):
                features = encode(values[start : start + self.batch_size])
                # a tensor before transformers 5, afterwards what has it as its pooled output
                features = getattr(features, "pooler_output", features)
                found.append(torch.nn.functional.normalize(features, dim=-1).float().cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def _rgb(image: Any) -> Any:
    """Give an image as Pillow's RGB.

    Raises:
        ValueError: for anything but a Pillow image, an array [H, W, 3] of uint8 or the name of a file that holds an image.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, str | Path):
        path = require_regular(image)
        try:
            with Image.open(path) as opened:
                return opened.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: expected an image, but {error}; convert it to PNG or JPEG") from error
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        shown = f"{array.dtype} {array.shape}" if isinstance(image, np.ndarray) else brief(image)
        raise ValueError(f"images: expected Pillow images, arrays [H, W, 3] of uint8 or names of files, got {shown}")
    return Image.fromarray(array)
