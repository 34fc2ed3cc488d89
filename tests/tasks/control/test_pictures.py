from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from tasks.control.environments import make_environments
from tasks.control.task import ControlConfig


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
    def make(name, num_envs, *, render_mode=None, **settings):
        envs = make_environments(name, num_envs, **settings)
        return Drawing(envs, fails) if render_mode else envs

    task = ControlConfig(max_episode_steps=6).build(0)
    monkeypatch.setattr("tasks.control.environments.make_environments", make)
    return task.sample(task.build_policy(), directory / "samples", count=2)


def test_an_animation_for_each_episode(monkeypatch, tmp_path) -> None:
    files = sample(monkeypatch, tmp_path, fails=False)
    assert [path.name for path in files] == ["episode_0.gif", "episode_1.gif", "episodes.txt"]
    with Image.open(files[0]) as picture:
        assert picture.n_frames == 6
        assert picture.size == (300, 200)
    assert "return 6 in 6 steps" in files[-1].read_text(encoding="utf-8")


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
    assert [path.suffix for path in files] == [".gif", ".txt"]
