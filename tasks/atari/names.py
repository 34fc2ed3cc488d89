"""Finds the game that a name means."""

from __future__ import annotations

import difflib
import re


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
    plain = re.sub(r"(NoFrameskip|Deterministic|-ram)?(-v\d+)?$", "", name.removeprefix("ALE/").removeprefix("ale_py:"))
    snake = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower().replace(" ", "_")
    games = set(roms.get_all_rom_ids())
    for candidate in (snake, snake.replace("_", "")):
        if candidate in games:
            return candidate
    close = difflib.get_close_matches(snake, sorted(games), n=3, cutoff=0.5)
    meant = (
        f"did you mean {' or '.join(close)}?" if close else "`python -c 'import ale_py.roms as r; print(r.get_all_rom_ids())'` lists them"
    )
    raise ValueError(f"environment: expected an Atari game, got {name!r}; {meant}")
