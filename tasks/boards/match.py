"""A person plays against a policy, one game at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from seqrl.policies.search_policy import SearchPolicy
from seqrl.policies.tokens import evaluation_mode
from seqrl.tasks.boards.rules import SYMBOLS, BoardGame, Boards, draw


class BoardMatch:
    """See `seqrl.protocols.Match`.

    Args:
        game: rules.
        policy: moves greedily, see `seqrl.policies.search_policy.SearchPolicy.choose`.
        first: whether the person has X and moves first.
        simulations: positions that the policy looks at for each move; as in its configuration when None.

    Raises:
        ValueError: when the policy is none that can search, and simulations are asked for.
    """

    def __init__(self, game: BoardGame, policy: nn.Module, *, first: bool = True, simulations: int | None = None) -> None:
        if simulations is not None:
            if not isinstance(policy, SearchPolicy):
                raise ValueError(f"--simulations: expected a policy that searches, got a {type(policy).__name__}; leave it out")
            policy.config = replace(policy.config, num_simulations=simulations)
        self._game, self._policy, self._colour = game, policy, 1 if first else -1
        self._names = {game.action_name(action).lower(): action for action in range(game.num_actions)}
        self._state, self.result = game.start(1), ""

    def begin(self) -> str:
        """Begin anew; let the policy move where it is first."""
        self._state, self.result = self._game.start(1), ""
        return "" if self._colour == 1 else self._answer()

    def board(self) -> str:
        """Draw the board, with who is who."""
        yours, mine = SYMBOLS[self._colour], SYMBOLS[-self._colour]
        return f"{labelled(self._game, self._state)}\nyou are {yours}, the policy is {mine}"

    def moves(self) -> list[str]:
        """Name the legal moves."""
        return [self._game.action_name(int(action)) for action in np.flatnonzero(self._game.legal(self._state)[0])]

    def move(self, text: str) -> str:
        """Make a move, and let the policy answer."""
        action = self._names.get(text.strip().lower())
        if self.result:
            raise ValueError(f"the game is over: {self.result}")
        if action is None:
            raise ValueError(f"there is no move {text.strip()[:20]!r}; you can play {', '.join(self.moves())}")
        if not self._game.legal(self._state)[0, action]:
            raise ValueError(f"{self._game.action_name(action)} cannot be played now; you can play {', '.join(self.moves())}")
        self._play(action)
        return "" if self.result else self._answer()

    def _answer(self) -> str:
        with evaluation_mode(self._policy):
            action = int(self._policy.choose(self._state, greedy=True).action[0])  # type: ignore[operator]
        self._play(action)
        return f"the policy plays {self._game.action_name(action)}"

    def _play(self, action: int) -> None:
        self._state = self._game.play(self._state, np.array([action]))
        if self._state.ended[0]:
            winner = int(self._state.winner[0]) * self._colour
            self.result = {1: "you have won", 0: "a draw", -1: "the policy has won"}[winner]


def labelled(game: BoardGame, state: Boards) -> str:
    """Write one game with its columns' names above, and its rows' names beside where moves name rows, too."""
    height, width = game.shape
    lines = draw(state).splitlines()
    if game.num_actions == width:  # a move is a column
        return "\n".join([" ".join(game.action_name(column) for column in range(width)), *lines])
    head = "  " + " ".join(game.action_name(column)[0] for column in range(width))
    return "\n".join([head, *(f"{game.action_name(row * width)[1:]} {line}" for row, line in enumerate(lines))])
