"""Dialogs as pictures: turns by hand, a row a turn, and the files that `seqrl record` and `seqrl sample` write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.recording import draw_episodes, record_episodes
from seqrl.tasks.dialog.drawing import Turn, draw_dialog
from seqrl.tasks.dialog.names import RESTAURANT
from seqrl.tasks.dialog.restaurant_acts import ACTIONS
from seqrl.tasks.dialog.restaurant_environment import RestaurantDialog


class Offers:
    """Offers until the end."""

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any, **settings: Any) -> Any:
        return type("Step", (), {"action": torch.tensor([ACTIONS.index("offer")]), "state": None})


def drawn(mode: str | None) -> VectorEnvSource:
    return VectorEnvSource(GymnasiumFactory(RESTAURANT).make(1, render_mode=mode), seed=0)


def test_a_row_a_turn_and_another_colour_for_what_was_misheard() -> None:
    first = Turn("", "", "inform(food=thai)", "inform(food=thai)", 0.8, [("food", "thai", 0.8)])
    right = Turn("offer", "There is one.", "bye()", "bye()", 0.9, [("food", "thai", 0.8)], -1.0)
    wrong = Turn("offer", "There is one.", "bye()", "null()", 0.3, [("food", "thai", 0.8)], -1.0)
    short, longer, other = draw_dialog("food=thai", [first]), draw_dialog("food=thai", [first, right]), draw_dialog("", [first, wrong])
    assert short.dtype == np.uint8 and short.shape[1:] == (1000, 3) and len(longer) > len(short) + 60
    orange = np.array([0xD5, 0x5E, 0x00])
    line = slice(110, 170)  # the third and fourth line of the second turn
    assert not (longer[line, :500] == orange).all(axis=2).any() and (other[line, :500] == orange).all(axis=2).any()


def test_turns_tell_what_happened() -> None:
    env = RestaurantDialog(render_mode="rgb_array")
    env.reset(seed=1)
    heights = [len(env.render())]
    turns = env.games.turns[0]
    assert turns[0].act == "" and turns[0].said.startswith("inform(") and turns[0].heard == turns[0].said and turns[0].score == 1.0
    assert turns[0].beliefs and all(value != "not said" for _, value, _ in turns[0].beliefs)
    env.step(ACTIONS.index("offer"))
    heights.append(len(env.render()))
    assert turns[1].act == "offer" and (turns[1].text.startswith(("There is", "I am sorry"))) and turns[1].reward == -1.0
    env.step(ACTIONS.index("bye"))
    assert turns[2].text.startswith("Goodbye") and turns[2].said == "" and len(env.render()) > heights[1] > heights[0]


def test_files(tmp_path: Path) -> None:
    for name, frames in (("a.png", 1), ("a.gif", 4)):
        lines = record_episodes(Offers(), drawn, tmp_path / name, episodes=1, seed=0, max_steps=3)  # type: ignore[arg-type]
        assert lines == ["episode 0: return -3 in 3 steps, seed 0"]
        picture: Any = Image.open(tmp_path / name)
        assert picture.size[0] == 1000 and picture.size[1] > 250 and getattr(picture, "n_frames", 1) >= frames
    files = draw_episodes(Offers(), drawn, tmp_path / "s", count=2, seed=0, max_steps=3)  # type: ignore[arg-type]
    assert [path.name for path in files] == ["episode_0.png", "episode_1.png", "episodes.txt"]
    assert Image.open(files[0]).size == Image.open(tmp_path / "a.png").size


def test_how_any_episode_ended(tmp_path: Path) -> None:
    pytest.importorskip("pygame")

    def make(mode: str | None) -> VectorEnvSource:
        return VectorEnvSource(gym.make_vec("CartPole-v1", 1, vectorization_mode="sync", render_mode=mode), seed=0)

    class Left(Offers):
        def act(self, obs: Any, state: Any, **settings: Any) -> Any:
            return type("Step", (), {"action": torch.zeros(1, dtype=torch.long), "state": None})

    record_episodes(Left(), make, tmp_path / "poles.png", episodes=2, seed=7, max_steps=100)  # type: ignore[arg-type]
    assert Image.open(tmp_path / "poles.png").size == (300, 400)
    with pytest.raises(ValueError, match=r"expected a file that ends in \.gif, \.mp4 or \.png"):
        record_episodes(Left(), make, tmp_path / "poles.jpg", episodes=1, seed=7, max_steps=9)  # type: ignore[arg-type]
