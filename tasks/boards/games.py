"""Board games over arrays: N games at once, players 1 and -1 in turn, and one interface for all of them.

game = make_game("connect4")
state = game.start(64)
while not state.ended.all():
    legal = game.legal(state)                                # [64, 7] bool; a game that has ended has no legal move
    state = game.play(state, choose(game.planes(state), legal))  # a game that has ended stays as it is, whatever its action
state.winner                                                 # [64] 1 for who began, -1 for the other, 0 for a draw
"""

from __future__ import annotations

from collections.abc import Callable

from seqrl.tasks.boards.go import Go
from seqrl.tasks.boards.lines import LineGame
from seqrl.tasks.boards.rules import BoardGame

EVALUATION_SEEDS = {"dev": 1_000_000_007, "test": 1_500_000_001}


def make_game(name: str, size: int | None = None) -> BoardGame:
    """Make a game: "tic_tac_toe", "connect4", or "go" on `size` x `size` cells.

    Raises:
        ValueError: when there is no such game, or not of this size.
    """
    makers: dict[str, Callable[[], BoardGame]] = {
        "tic_tac_toe": lambda: LineGame("tic_tac_toe", height=3, width=3, in_line=3),
        "connect4": lambda: LineGame("connect4", height=6, width=7, in_line=4, falls=True),
        "go": lambda: Go(9 if size is None else size),
    }
    if name not in makers:
        raise ValueError(f"game: expected one of {', '.join(makers)}, got {name!r}")
    if size is not None and name != "go":
        raise ValueError(f"size: expected none, {name} has one size; got {size}; set size=null")
    return makers[name]()
