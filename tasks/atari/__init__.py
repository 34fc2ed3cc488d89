"""Atari games through ale-py's vector environment: the same trainers, with frames and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.atari.games import AtariGames as AtariGames
    from seqrl.tasks.atari.scores import human_normalised as human_normalised
    from seqrl.tasks.atari.task import AtariConfig as AtariConfig

__all__, __getattr__, __dir__ = imported_when_used(__name__)
