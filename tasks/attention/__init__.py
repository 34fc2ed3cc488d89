"""Recurrent attention: a policy that sees an image through glimpses and learns where to look."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.attention.data import AttentionData, ImageSplit, load_data
    from tasks.attention.data_config import DataConfig
    from tasks.attention.policy import GlimpsePolicy, GlimpsePolicyConfig
    from tasks.attention.retina import Retina
    from tasks.attention.task import AttentionConfig, AttentionTask

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

_NAMES = {
    "data": ("AttentionData", "ImageSplit", "load_data"),
    "data_config": ("DataConfig",),
    "policy": ("GlimpsePolicy", "GlimpsePolicyConfig"),
    "retina": ("Retina",),
    "task": ("AttentionConfig", "AttentionTask"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name what is public beside what is there already."""
    return sorted({*globals(), *__all__})
