"""Games written over arrays, in gymnasium's two forms, step by step by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from seqrl.tasks.control.games import ManyGames, OneGame


class Countdown:
    """Begins at 3 or 4, takes the action off, pays what is left, and ends at 0 or below."""

    observation_space, action_space = Box(-9, 9, (1,), np.float32), Discrete(3)

    def __init__(self, size: int) -> None:
        self.state: dict[str, NDArray[Any]] = {"left": np.zeros(size, dtype=np.int64)}
        self.starts: list[list[int]] = []

    def start(self, random: np.random.Generator, rows: NDArray[np.bool_]) -> None:
        self.starts.append(np.flatnonzero(rows).tolist())
        self.state["left"][rows] = random.integers(3, 5, size=int(rows.sum()))

    def play(self, action: Any, random: np.random.Generator, rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        self.state["left"] = np.where(rows, self.state["left"] - action, self.state["left"])
        return np.where(rows, self.state["left"], 0).astype(np.float64), rows & (self.state["left"] <= 0)

    def seen(self) -> NDArray[np.float32]:
        return self.state["left"][:, None].astype(np.float32)

    def info(self) -> dict[str, NDArray[Any]]:
        return {"even": self.state["left"] % 2 == 0}

    def draw(self) -> tuple[str, ...]:
        return tuple("*" * left for left in self.state["left"].tolist())


def test_one_game() -> None:
    game = OneGame(Countdown(1), "ansi")
    seen, info = game.reset(seed=0)
    left = int(seen[0])
    assert left in (3, 4) and info["even"] == (left == 4) and game.render() == "*" * left
    assert game.step(2)[1:4] == (left - 2.0, False, False)
    seen, reward, terminated, truncated, _ = game.step(np.int64(2))
    assert (float(seen[0]), reward, terminated, truncated) == (left - 4.0, left - 4.0, True, False)
    assert OneGame(Countdown(1), None).render() is None


def test_many_games_end_alone_and_begin_in_their_next_step() -> None:
    rules = Countdown(2)
    games = ManyGames(rules, 2, 5, None)
    games.reset(seed=0)
    rules.state["left"][:] = 3, 4
    for action, seen, reward, terminated in (([1, 0], [2, 4], [2, 4], [0, 0]), ([2, 0], [0, 4], [0, 4], [1, 0])):
        found = games.step(np.array(action))
        assert [list(part.reshape(-1)) for part in found[:3]] == [seen, reward, terminated] and not found[3].any()
    kept = games.state_dict()
    seen, reward, terminated, truncated, _ = games.step(np.array([1, 1]))
    assert seen[0, 0] in (3, 4) and reward.tolist() == [0, 3] and not terminated.any() and rules.starts[-1] == [0]
    assert games.step(np.array([0, 0]))[3].tolist() == [False, False]
    assert games.step(np.array([0, 0]))[3].tolist() == [False, True]  # its fifth step; the other one's second
    other = ManyGames(Countdown(2), 2, 5, None)
    other.reset(seed=9)
    other.load_state_dict(kept)
    again = other.step(np.array([1, 1]))
    assert again[0].tolist() == seen.tolist() and again[1].tolist() == reward.tolist()


def test_names_that_the_environment_keeps_its_own_state_under_are_refused() -> None:
    rules = Countdown(2)
    rules.state["length"] = np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match=r"games\.state: length: is what the environment itself keeps"):
        ManyGames(rules, 2, 5, None)
