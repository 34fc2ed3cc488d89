"""Finds the game that a name means."""

from __future__ import annotations

import re

from seqrl.run.registry import nearest


def game_name(name: str) -> str:
    """Give ale-py's name of a game: "pong", "Pong", "ALE/Pong-v5" and "PongNoFrameskip-v4" are all "pong".

    Args:
        name: of a game, as ale-py or gymnasium write it.

    Raises:
        ValueError: when ale-py is not installed, or has no such game, with the nearest names.
    """
    try:
        from ale_py import roms
    except ModuleNotFoundError as error:
        raise ValueError("the Atari games need ale-py; type: pip install 'seqrl[atari]'") from error
    plain = re.sub(r"(-ram)?(NoFrameskip|Deterministic)?(-v\d+)?$", "", name.removeprefix("ALE/").removeprefix("ale_py:"))
    games = {_squeezed(game): game for game in roms.get_all_rom_ids()}
    if _squeezed(plain) in games:
        return games[_squeezed(plain)]
    meant = nearest(_squeezed(plain), games)
    raise ValueError(f"environment: expected an Atari game, got {name!r}; {meant}")


def _squeezed(name: str) -> str:
    """Leave nothing but small letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
