"""Lets somebody at a terminal play against a trained policy."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.text import Text

from seqrl.protocols import Match
from seqrl.run.chat import typed
from seqrl.run.train import Source

COLOURS = {"X": "bold red", "O": "bold blue"}


def open_match(source: Source, *, first: bool = True, simulations: int | None = None) -> Match:
    """Load a policy to play against.

    Args:
        source: of the policy.
        first: whether the person moves first.
        simulations: positions that the policy looks at for each move; as in its configuration when None.

    Raises:
        ValueError: when a number is out of range, nobody can play against the task's policies, or a checkpoint does not fit.
    """
    if simulations is not None and simulations < 0:
        raise ValueError(f"--simulations: expected 0 or more, got {simulations}; 0 lets the network play alone")
    loaded = source.load()
    give = loaded.capability(
        "play", "nobody can play against its policies; train one with configs/boards/tic_tac_toe_alpha_zero.yaml, for instance"
    )
    match: Match = give(loaded.policy, first=first, simulations=simulations)
    return match


def play_match(match: Match, lines: Iterator[str], out: TextIO) -> None:
    """Play until the game or the lines end, or one is /quit.

    Args:
        match: that was opened.
        lines: what is typed, a move each.
        out: gets the board after each move, and what is wrong with a line that is no move.
    """
    console = Console(file=out, highlight=False, soft_wrap=True)

    def show(said: str) -> None:
        board = Text(match.board())
        for stone, style in COLOURS.items():
            board.highlight_regex(stone, style)
        console.print(board)
        if said:
            console.print(Text(said))

    show(match.begin())
    console.print(Text(f"moves: {', '.join(match.moves())}; /quit leaves"))
    for line in lines:
        text = line.strip()
        if text == "/quit":
            break
        if not text:
            continue
        try:
            said = match.move(text)
        except ValueError as error:
            console.print(Text(str(error)))
            continue
        show(said)
        if match.result:
            console.print(Text(match.result))
            return
    console.print(Text("the game was left before its end"))


def play(match: Match) -> None:
    """Play at the terminal."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is no text is no move, but ends nothing
    play_match(match, typed(sys.stdin, "your move: "), sys.stdout)
