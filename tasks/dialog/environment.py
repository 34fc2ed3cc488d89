"""Gymnasium's two forms of a dialogue domain: one dialog, and many that step at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.control.parts import SHOWS_MASK
from seqrl.tasks.control.watching import WHOLE
from seqrl.tasks.dialog.arrays import Flags, Numbers, Reals
from seqrl.tasks.dialog.drawing import Turn, draw_dialog
from seqrl.tasks.dialog.movie_dialogs import MovieDialogs
from seqrl.tasks.dialog.restaurant_dialogs import RestaurantDialogs

METADATA = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1, SHOWS_MASK: True, WHOLE: True}


# N dialogs of a domain, stepped together. With the random generator their `state`, arrays [N, ...] by name, is all the next turn needs.
Dialogs = MovieDialogs | RestaurantDialogs


class DialogGames:
    """Dialogs as games, see `seqrl.tasks.control.games.Games`; it keeps the turns of those that are drawn.

    Args:
        dialogs: N of them.
        size: N.
        render_mode: "ansi" for texts, "rgb_array" for pictures, None for neither.

    Attributes:
        state, seen: the dialogs' own.
    """

    def __init__(self, dialogs: Dialogs, size: int, render_mode: str | None) -> None:
        self.dialogs, self._mode = dialogs, render_mode
        self.state, self.seen = dialogs.state, dialogs.seen
        self.observation_space = Box(0.0, 1.0, (dialogs.num_features,), dtype=np.float32)
        self.action_space = Discrete(dialogs.num_actions)
        self.turns: list[list[Turn]] = [[] for _ in range(size)]
        self._goals = [""] * size

    def start(self, random: np.random.Generator, rows: Flags) -> None:
        """Begin some dialogs [N] anew, with the user's first turn."""
        if not rows.any():
            return
        self.dialogs.start(random, rows)
        for row in self._drawn(rows):
            self._goals[row], self.turns[row] = self.dialogs.goal(row), [self.dialogs.turn(row, None, False)]

    def play(self, action: Numbers, random: np.random.Generator, rows: Flags) -> tuple[Reals, Flags]:
        """Say one act [N] in some dialogs and hear the user's answer."""
        reward, ended = self.dialogs.play(np.asarray(action), random, rows)
        for row in self._drawn(rows):
            self.turns[row].append(self.dialogs.turn(row, float(reward[row]), bool(ended[row])))
        return reward, ended

    def info(self) -> dict[str, NDArray[Any]]:
        """Say which acts make sense, [N, A], in the type that gymnasium's spaces draw by."""
        return {"action_mask": self.dialogs.allowed().astype(np.int8)}

    def draw(self) -> tuple[Any, ...]:
        """Write the last two turns of each dialog, or draw all of them."""
        rows = range(len(self.turns))
        if self._mode == "ansi":
            return tuple(self.dialogs.say(row) for row in rows)
        return tuple(draw_dialog(self._goals[row], self.turns[row]) for row in rows)

    def _drawn(self, rows: Flags) -> list[int]:
        return np.flatnonzero(rows).tolist() if self._mode == "rgb_array" else []


class OneDialog(OneGame):
    """One dialog; `info["action_mask"]` says which acts make sense. A domain's class says what its dialogs are.

    Args:
        render_mode: "ansi", "rgb_array" or None.
        options: of the domain.

    Attributes:
        make: gives dialogs by their number and the domain's options.
    """

    metadata = METADATA
    make: Callable[..., Dialogs]

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        self.dialogs = self.make(1, **options)
        super().__init__(DialogGames(self.dialogs, 1, render_mode), render_mode)


class ManyDialogs(ManyGames):
    """Many dialogs that step at once; those that have ended begin anew in their next step.

    Args:
        num_envs: their number.
        max_episode_steps: cut dialogs after so many turns of the system; None leaves it to the domain.
        render_mode: "ansi", "rgb_array" or None.
        options: of the domain.

    Attributes:
        make: as that of `OneDialog`.
    """

    metadata = {**METADATA, **ManyGames.metadata}
    make: Callable[..., Dialogs]

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, render_mode: str | None = None, **options: Any) -> None:
        self.dialogs = self.make(num_envs, **options)
        super().__init__(DialogGames(self.dialogs, num_envs, render_mode), num_envs, max_episode_steps, render_mode)
