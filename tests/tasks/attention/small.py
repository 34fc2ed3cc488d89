"""A small attention task without files."""

from __future__ import annotations

from typing import Any

import torch

from seqrl.tasks.attention.data import AttentionData, ImageSplit
from seqrl.tasks.attention.data_config import DataConfig
from seqrl.tasks.attention.evaluation import EvaluationConfig
from seqrl.tasks.attention.policy import GlimpsePolicyConfig
from seqrl.tasks.attention.task import AttentionConfig, AttentionTask


def images(name: str, number: int, size: int, seed: int) -> ImageSplit:
    """Noise with a bright bar, standing (0), lying (1) or on the diagonal (2)."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 60, (number, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (number,), generator=generator)
    for row, label in enumerate(labels.tolist()):
        for step in range(size):
            place = ((step, size // 2), (size // 2, step), (step, step))[label]
            pixels[row, place[0], place[1]] = 255
    return ImageSplit(name, pixels, labels)


def small_config(**settings: Any) -> AttentionConfig:
    policy = settings.pop("policy", {})
    data = settings.pop("data", {})
    sizes = {"num_features": 8, "glimpse_units": 12, "hidden_units": 10, "precision": "fp32"}
    return AttentionConfig(
        **{  # type: ignore[arg-type]
            "data": DataConfig(**{"image_size": 12, **data}),
            "policy": GlimpsePolicyConfig(**{**sizes, **policy}),  # type: ignore[arg-type]
            "evaluation": EvaluationConfig(num_paths=3, images_per_batch=10),
            "glimpse_size": 4,
            "num_scales": 2,
            "num_glimpses": 4,
            "images_per_batch": 6,
            **settings,
        }
    )


def small_task(seed: int = 0, **settings: Any) -> AttentionTask:
    config = small_config(**settings)
    parts = {name: images(name, number, 12, index) for index, (name, number) in enumerate({"train": 40, "dev": 25, "test": 15}.items())}
    data = AttentionData(**parts, class_names=["standing", "lying", "diagonal"], placement=config.data.build_placement())
    return AttentionTask(config, data, seed=seed)
