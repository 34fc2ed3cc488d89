"""Any vision model of transformers as an encoder of pictures, with its own image processor."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_BACKBONE_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from seqrl.tasks.captioning.eyes.encoder import check_images, encoded, freeze_statistics
from seqrl.tasks.captioning.policies.pixels import Preparation, check_processor, processed_pixels
from seqrl.tasks.writing.pretrained.hub import hash_of, load_config, load_image_processor, opened, weights_of

_FIELD = "encoder"
_WANTED = "a vision model of transformers"


class TransformersEncoder(nn.Module):
    """Encodes uint8 images [N, 3, H, W], as `prepare` makes them, by the last hidden states of a vision model.

    Of a model for images and text (CLIP, SigLIP) it is the half that sees. A transformer's class token stays among the regions: attention
    may look at it as at any other, and it is what many were trained to say all in. Feature maps [N, D, H', W'] become H' W' regions.

    Args:
        name: folder, or name on the hub.
        learns: parameters that the regions depend on keep their gradients; poolers, heads and mask tokens lose them.

    Raises:
        FileNotFoundError: when there is no such model.
        ValueError: when it does not see pictures, its image processor does not fit, or its weights are damaged.
    """

    def __init__(self, name: str, *, learns: bool = False) -> None:
        super().__init__()
        processor = check_model(name)
        self.processor, self.prepare = processor, Preparation(processor)
        self.model, random = _load(name)
        digest = hash_of({key: tensor for key, tensor in self.model.state_dict().items() if key not in random})
        self.key = json.dumps(["transformers", type(self.model).__name__, digest, "last hidden states, version 1"])
        freeze_statistics(self)
        self.num_regions, self.feature_dim = self._measure(name, learns)

    def train(self, mode: bool = True) -> TransformersEncoder:
        """Set the mode of all but batch normalisations, whose statistics stay as they are."""
        return freeze_statistics(super().train(mode))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode uint8 images [N, 3, H, W] as `regions` [N, R, D] and `pooled` [N, D]."""
        check_images(images, self.prepare.shape)
        output = self.model(pixel_values=processed_pixels(images, self.processor, prepared=True))
        maps = getattr(output, "feature_maps", None)
        return encoded(output.last_hidden_state if maps is None else maps[-1])

    def _measure(self, name: str, learns: bool) -> tuple[int, int]:
        """Look at one black picture, to learn how many regions and features there are, and on which parameters they depend."""
        try:
            with torch.set_grad_enabled(learns):
                regions = self.eval()(torch.zeros(1, *self.prepare.shape, dtype=torch.uint8))["regions"]
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            raise ValueError(
                f"{_FIELD}: {name} ({type(self.model).__name__}) does not see the pictures {list(self.prepare.shape)} that its image "
                f"processor makes ({(str(error).splitlines() or ['?'])[0]}); choose another model, or mend its preprocessor_config.json"
            ) from error
        parameters = list(self.parameters())
        gradients = torch.autograd.grad(regions.sum(), parameters, allow_unused=True) if learns else [None] * len(parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        return regions.shape[1], regions.shape[2]


def check_model(name: str) -> Any:
    """Refuse what is no vision model, by its configuration and its image processor, which is given; no weights are read.

    Args:
        name: folder, or name on the hub.

    Raises:
        FileNotFoundError: when there is no such model.
        ValueError: when it does not see pictures, or its image processor has a step that is unknown.
    """
    config = load_config(name, field=_FIELD, wanted=_WANTED)
    kind = config.model_type
    if kind not in supported_kinds():
        hint = "; task.policy.type=pretrained takes it as a whole, with task.policy.path" if kind == "vision-encoder-decoder" else ""
        raise ValueError(
            f"{_FIELD}: expected {_WANTED}, got {name}, whose kind is {kind!r}{hint}; these are known: {', '.join(supported_kinds())}"
        )
    processor = load_image_processor(name, field=_FIELD)
    check_processor(processor)
    return processor


def supported_kinds() -> list[str]:
    """List the kinds of models (`model_type`) that see pictures: those that classify them, backbones, and what sees in others."""
    towers = {kind for kind in MODEL_MAPPING_NAMES if kind.endswith("_vision_model")}
    return sorted({*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *MODEL_FOR_BACKBONE_MAPPING_NAMES, *towers})


def _load(name: str) -> tuple[Any, set[str]]:
    """Load what sees, in fp32, and the names of its weights that its files do not hold: poolers, which are not used."""
    kind = load_config(name, field=_FIELD, wanted=_WANTED).model_type
    loader: Any = AutoModel if kind in MODEL_MAPPING_NAMES else AutoBackbone
    with weights_of(name, field=_FIELD, wanted=_WANTED):
        # Weights of another shape are reported, as missing ones are, and refused below.
        model, report = opened(loader, name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True)
    part = "vision_model." if getattr(model, "vision_model", None) is not None else ""
    seen = model.vision_model if part else model
    own = seen.state_dict().keys()
    missing = {key.removeprefix(part) for key in report["missing_keys"] if key.startswith(part)} & own
    # A mismatch is (name, shape found, shape expected).
    misshapen = {key.removeprefix(part) for key, *_ in report["mismatched_keys"]} & own
    wrong = sorted(key for key in missing | misshapen if "pooler" not in key.split("."))
    if wrong:
        raise ValueError(
            f"{_FIELD}: {name} lacks {len(wrong)} weights of {type(seen).__name__}, such as {', '.join(wrong[:3])}, or has them in another "
            "shape; its files are damaged or another model's"
        )
    if getattr(seen, "main_input_name", "") != "pixel_values":
        raise ValueError(f"{_FIELD}: expected {_WANTED}, got {name}, a {type(seen).__name__}, which does not take pixels alone")
    return seen, missing | misshapen
