"""Pretrained models of transformers that write about images, as policies; what they learn is saved so that plain transformers loads it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from seqrl.run.registry import nearest
from seqrl.tasks.captioning.adapters.kinds import IMAGE_TEXT, KINDS, adapter_of, check_kind, seeing_part
from seqrl.tasks.captioning.features import Eyes
from seqrl.tasks.captioning.images import Prepare, centre_square
from seqrl.tasks.captioning.policies.pixels import Preparation, check_processor, processed_pixels
from seqrl.tasks.writing.pretrained.dtypes import Dtype, weights_format
from seqrl.tasks.writing.pretrained.hub import found, hash_of, load_config, load_image_processor, load_tokenizer, opened, weights_of
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy

_LOG = logging.getLogger(__name__)
_WANTED = "a model of transformers that writes about images"


def captioner_of(
    model: Any, processor: Any, *, tokenizer: Any = None, prompt: str = "", fast: bool = True, whole: Any = None, **settings: Any
) -> TransformersPolicy:
    """Make a policy of a model of transformers.

    Args:
        model: of one of `seqrl.tasks.captioning.adapters.kinds.KINDS`; it learns in place.
        processor: its image processor.
        tokenizer: its tokenizer, which is saved beside it.
        prompt: text that captions go on from, see `adapter_of`.
        fast: run a GPT-2 decoder by code of ours, see `adapter_of`.
        whole: processor of images and texts, which an image-text-to-text model needs.
        settings: keyword arguments of `TransformersPolicy`.

    Raises:
        ValueError: when the parts do not fit each other.
    """
    check_processor(processor)
    adapter, special = adapter_of(model, processor, tokenizer=tokenizer, whole=whole, prompt=prompt, fast=fast)
    adapter.check_length(int(settings.get("max_tokens", 1)))
    given = {name: token for name, token in settings.items() if token is not None}
    return TransformersPolicy(adapter, tokenizer=tokenizer, **(special | given))


def load_captioner(
    path: str | Path,
    *,
    tokenizer: Any = None,
    prompt: str = "",
    fast: bool = True,
    changes: Mapping[str, Any] | None = None,
    dtype: Dtype = "fp32",
    **settings: Any,
) -> TransformersPolicy:
    """Load a model with what reads for it from a folder or the hub; code that comes with a model is never run.

    Args:
        path: folder, or name on the hub.
        tokenizer: saved beside the model; the one at `path` where a prompt asks for one and none is given.
        prompt: text that captions go on from, see `adapter_of`.
        fast: see `adapter_of`.
        changes: settings of the image processor that are to be others, such as `{"do_image_splitting": False}`.
        dtype: dtype of the model's weights.
        settings: keyword arguments of `TransformersPolicy`.

    Raises:
        FileNotFoundError: when there is no such folder, or the hub does not give it.
        ValueError: when it holds another kind of model, or parts that do not fit each other, or the device lacks the dtype.
    """
    weights = weights_format(dtype, only_lora_learns=settings.get("lora") is not None)
    processor, model = load_model(path, changes, weights)
    name, whole = str(path), None
    if model.config.model_type in IMAGE_TEXT:
        whole = _load_whole_processor(name, processor)
    elif prompt and tokenizer is None:
        tokenizer = load_tokenizer(name, field="path")
    return captioner_of(model, processor, tokenizer=tokenizer, prompt=prompt, fast=fast, whole=whole, **settings)


def load_model(path: str | Path, changes: Mapping[str, Any] | None = None, weights: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Load the image processor and the model; see `load_processor`."""
    processor, name = load_processor(path, changes), str(path)
    kind = getattr(transformers, KINDS[load_config(name, field="path", wanted=_WANTED).model_type])
    with weights_of(name, field="path", wanted=f"a saved {kind.__name__}"):
        model = opened(kind, name, dtype=weights)
    return processor, model


def load_processor(path: str | Path, changes: Mapping[str, Any] | None = None) -> Any:
    """Load the image processor of a model that writes about images; code that comes with a model is never run.

    Args:
        path: folder, or name on the hub.
        changes: settings of the processor that are to be others.

    Raises:
        FileNotFoundError: when there is no such folder, or the hub does not give it.
        ValueError: when it holds another kind of model, or the processor has no such setting.
    """
    name = str(path)
    if not name:
        raise ValueError("path: expected a folder or hub name of a model that writes about images, got nothing; set policy.path")
    check_kind(name, load_config(name, field="path", wanted=_WANTED))
    processor = load_image_processor(name, field="path")
    known = processor.to_dict()
    for key in changes or {}:
        if key not in known or key.endswith("_type"):
            raise ValueError(
                f"policy.processor: {type(processor).__name__} has no setting {key}; {nearest(key, known)}; it has "
                f"{', '.join(sorted(known))}"
            )
    return type(processor).from_dict({**known, **changes}) if changes else processor


class Squares:
    """Cuts out the centre square of a picture and resizes it.

    Args:
        image_size: S, pixels.
    """

    def __init__(self, image_size: int) -> None:
        self.key = f"squares of {image_size}"
        self.shape: tuple[int, ...] = (3, image_size, image_size)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """Prepare an RGB picture: uint8 [3, S, S]."""
        return centre_square(picture, self.shape[1])


def prepare_for(processor: Any) -> Preparation | None:
    """Give the steps of an image processor that are done once on a photograph; None, and a warning, where they cannot be parted."""
    try:
        return Preparation(processor)
    except ValueError as error:
        _LOG.warning("%s; it is applied to squares of task.data.image_size pixels, cut out of the photographs' centres", error)
        return None


def encoder_eyes(path: str | Path, image_size: int, changes: Mapping[str, Any] | None = None) -> Eyes:
    """Make frozen eyes of the encoder of a pretrained model that writes about images; they give its last hidden states.

    Args:
        path: folder, or name on the hub.
        image_size: side of the squares that are stored where the model's image processor cannot be parted, pixels.
        changes: settings of the image processor that are to be others.

    Raises:
        FileNotFoundError: when there is no such model.
        ValueError: when it is another kind of model.
    """
    processor, model = load_model(path, changes)
    check_processor(processor)
    kind: Any = seeing_part(model)
    encoder, parted = kind.encoder.eval().requires_grad_(False), prepare_for(processor)
    prepare: Prepare = parted or Squares(image_size)
    key = f"hidden states 1 {hash_of(encoder.state_dict())} {prepare.key} {encoder.config.to_json_string()}"

    def look(images: Tensor) -> Tensor:
        return kind.see(processed_pixels(images, processor, prepared=parted is not None))  # type: ignore[no-any-return]

    with torch.no_grad():
        _, num_regions, feature_dim = look(torch.zeros(1, *prepare.shape, dtype=torch.uint8)).shape
    return Eyes(str(path), key + getattr(kind, "how_it_sees", ""), num_regions, feature_dim, prepare, look)


def _load_whole_processor(name: str, pictures: Any) -> Any:
    with found(name, field="path", part="the processor of "):
        try:
            whole = opened(transformers.AutoProcessor, name, backend="pil")
        except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            raise ValueError(f"path: the processor of {name} cannot be used ({error})") from error
    whole.image_processor = pictures
    return whole
