from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.recording import draw_episodes, record_episodes, write_animation


class Always:
    """Pushes to one side; a pole falls after about nine steps."""

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any, **settings: Any) -> Any:
        return type("Step", (), {"action": torch.zeros(1, dtype=torch.long), "state": None})


class Seen(gym.Env):  # type: ignore[type-arg]
    """Shows four stacked pictures, of which the newest is as bright as the number of steps; ends after five."""

    metadata = {"render_modes": []}
    observation_space = gym.spaces.Box(0, 255, (4, 6, 8), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, **settings: Any) -> Any:
        self.steps = 0
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        obs = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        obs[-1] = 40 * self.steps
        return obs, 2.0, self.steps == 5, False, {}


def source(environment: Any) -> VectorEnvSource:
    return VectorEnvSource(gym.vector.SyncVectorEnv([environment]), seed=0)


def frames(path: Path) -> list[np.ndarray]:
    picture, found = Image.open(path), []
    for index in range(picture.n_frames):  # type: ignore[attr-defined]
        picture.seek(index)
        found += [np.asarray(picture.convert("RGB"))]
    return found


def test_a_drawn_episode(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    path = tmp_path / "new" / "pole.gif"
    lines = record_episodes(
        Always(),  # type: ignore[arg-type]
        lambda mode: VectorEnvSource(gym.make_vec("CartPole-v1", 1, vectorization_mode="sync", render_mode=mode), seed=0),
        path,
        episodes=2,
        seed=7,
        max_steps=100,
    )
    pictures = frames(path)
    assert len(lines) == 2 and lines[0].startswith("episode 0: return ") and lines[1].endswith("seed 8")
    assert pictures[0].shape == (200, 300, 3) and len({picture.tobytes() for picture in pictures}) > 4
    duration = Image.open(path).info["duration"]
    assert duration == 40  # every second of 50 frames a second


def test_what_cannot_draw_but_is_seen_as_pictures(tmp_path: Path) -> None:
    lines = record_episodes(Always(), lambda mode: source(Seen), tmp_path / "seen.gif", episodes=1, seed=0, max_steps=100)  # type: ignore[arg-type]
    assert lines == ["episode 0: return 10 in 5 steps, seed 0"]
    brightness = [int(picture.mean()) for picture in frames(tmp_path / "seen.gif")]
    assert brightness[:5] == pytest.approx([0, 40, 80, 120, 160], abs=4)


def test_pictures_of_what_cannot_draw_but_is_seen(tmp_path: Path) -> None:
    files = draw_episodes(Always(), lambda mode: source(Seen), tmp_path, count=1, seed=0, max_steps=100)  # type: ignore[arg-type]
    assert [path.name for path in files] == ["episode_0.gif", "episode_0.png", "episodes.txt"]
    assert [int(picture.mean()) for picture in frames(files[0])] == pytest.approx([0, 40, 80, 120, 160], abs=4)
    assert files[-1].read_text(encoding="utf-8") == "episode 0: return 10 in 5 steps, seed 0\n"


def test_what_cannot_be_recorded_is_said_before_playing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, message: str, make: Any) -> None:
        with pytest.raises(ValueError, match=message):
            record_episodes(Always(), make, path, episodes=1, seed=0, max_steps=5)  # type: ignore[arg-type]

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    refuse(tmp_path / "a.mp4", r'pip install "seqrl\[video\]", or choose a .gif', None)
    refuse(tmp_path / "a.avi", "ends in .gif, .mp4 or .png", None)
    blind = type("Blind", (Seen,), {"observation_space": gym.spaces.Box(0, 1, (3,), np.float32)})
    refuse(tmp_path / "a.gif", "no render mode rgb_array and is not seen as pictures", lambda mode: source(blind))


def test_mp4_where_its_writer_is_there(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    write_animation(tmp_path / "a.mp4", [np.full((20, 30, 3), value, np.uint8) for value in range(0, 250, 10)], 25)
    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:64]
