"""Atari games through ale-py's vector environment: the same trainers, with frames and scores."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.atari.games import AtariGames
    from tasks.atari.scores import human_normalised
    from tasks.atari.task import AtariConfig, AtariTask

__all__ = [
    "AtariConfig",
    "AtariGames",
    "AtariTask",
    "human_normalised",
]

_NAMES = {
    "games": ("AtariGames",),
    "scores": ("human_normalised",),
    "task": ("AtariConfig", "AtariTask"),
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
