"""Atari games through ale-py's vector environment: the same trainers, with frames and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.atari.games import AtariGames
    from seqrl.tasks.atari.scores import human_normalised
    from seqrl.tasks.atari.task import AtariConfig, AtariTask

__all__ = [
    "AtariConfig",
    "AtariGames",
    "AtariTask",
    "human_normalised",
]

_MODULES = {
    "games": ("AtariGames",),
    "scores": ("human_normalised",),
    "task": ("AtariConfig", "AtariTask"),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
