"""Recurrent attention: a policy that sees an image through glimpses and learns where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.attention.data import AttentionData, ImageSplit, load_data
    from seqrl.tasks.attention.data_config import DataConfig
    from seqrl.tasks.attention.policy import GlimpsePolicy, GlimpsePolicyConfig
    from seqrl.tasks.attention.retina import Retina
    from seqrl.tasks.attention.task import AttentionConfig, AttentionTask

__all__ = [
    "AttentionConfig",
    "AttentionData",
    "AttentionTask",
    "DataConfig",
    "GlimpsePolicy",
    "GlimpsePolicyConfig",
    "ImageSplit",
    "Retina",
    "load_data",
]

_MODULES = {
    "data": ("AttentionData", "ImageSplit", "load_data"),
    "data_config": ("DataConfig",),
    "policy": ("GlimpsePolicy", "GlimpsePolicyConfig"),
    "retina": ("Retina",),
    "task": ("AttentionConfig", "AttentionTask"),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
