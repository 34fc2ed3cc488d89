from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.recording import _write_sheet
from seqrl.tasks.control.task import ControlConfig


class Drawing(gym.vector.VectorWrapper):
    """Draws a frame whose brightness is the number of steps."""

    def __init__(self, envs, fails: bool) -> None:
        super().__init__(envs)
        self.fails, self.count = fails, 0

    def step(self, actions):
        self.count += 1
        return super().step(actions)

    def render(self):
        if self.fails:
            raise gym.error.DependencyNotInstalled('pygame is not installed, run `pip install "gymnasium[classic-control]"`')
        return (np.full((40, 60, 3), 10 * self.count, dtype=np.uint8),)


def sample(monkeypatch, directory: Path, *, fails: bool) -> list[Path]:
    plain = GymnasiumFactory.make

    def make(factory, num_envs, *, training, render_mode=None):
        envs = plain(factory, num_envs, training=training)
        return Drawing(envs, fails) if render_mode else envs

    task = ControlConfig(max_episode_steps=6).build(0)
    monkeypatch.setattr(GymnasiumFactory, "make", make)
    return task.sample(task.build_policy(), directory / "samples", count=2)


def test_an_animation_and_a_sheet_for_each_episode(monkeypatch, tmp_path) -> None:
    files = sample(monkeypatch, tmp_path, fails=False)
    assert [path.name for path in files] == ["episode_0.gif", "episode_0.png", "episode_1.gif", "episode_1.png", "episodes.txt"]
    with Image.open(files[0]) as picture:
        assert picture.n_frames == 6
        assert picture.size == (300, 200)
    with Image.open(files[1]) as sheet:  # six frames, four a row, six pixels between
        assert sheet.size == (4 * 306 + 6, 2 * 206 + 6)
        centres = [sheet.getpixel((6 + column * 306 + 150, 6 + row * 206 + 100)) for row in (0, 1) for column in range(4)]
    assert [grey for grey, _, _ in centres] == [0, 10, 20, 30, 40, 50, 255, 255]
    assert "return 6 in 6 steps" in files[-1].read_text(encoding="utf-8")


def test_a_sheet_shows_a_dozen_frames_of_a_long_episode_from_first_to_last(tmp_path) -> None:
    _write_sheet(tmp_path / "sheet.png", [np.full((200, 300, 3), count, dtype=np.uint8) for count in range(100)])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 306 + 6, 3 * 206 + 6)
        assert [sheet.getpixel((6 + 150, 6 + 100)), sheet.getpixel((6 + 3 * 306 + 150, 6 + 2 * 206 + 100))] == [(0, 0, 0), (99, 99, 99)]


def test_a_text_that_says_why_where_nothing_can_be_drawn(monkeypatch, tmp_path) -> None:
    files = sample(monkeypatch, tmp_path, fails=True)
    assert [path.name for path in files] == ["episodes.txt"]
    lines = files[0].read_text(encoding="utf-8").splitlines()
    assert 'pip install "gymnasium[classic-control]"' in lines[0]
    assert len(lines) == 3


def test_cartpole_as_installed(tmp_path) -> None:
    pytest.importorskip("pygame", reason="pygame draws CartPole: pip install 'gymnasium[classic-control]'")
    task = ControlConfig(max_episode_steps=20).build(0)
    files = task.sample(task.build_policy(), tmp_path, count=1)
    assert [path.suffix for path in files] == [".gif", ".png", ".txt"]
