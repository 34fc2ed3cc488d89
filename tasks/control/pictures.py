"""Episodes to look at: animated GIFs where the environment can draw, and a text with their returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image
from torch import nn

from seqrl.sources import VectorEnvSource
from tasks.control.episodes import EpisodeSource

LARGEST_FRAMES = 150
FRAME_WIDTH = 300


@torch.no_grad()
def draw_episodes(
    policy: nn.Module, make: Callable[[str | None], VectorEnvSource], directory: Path, *, count: int, seed: int, max_steps: int
) -> list[Path]:
    """Play greedy episodes, write one GIF each and `episodes.txt`.

    Where the environment cannot draw, there is the text alone, and it says why.

    Args:
        policy: acts greedily.
        make: takes a render mode or None, gives a source with one row.
        directory: made when it is not there.
        count: number of episodes.
        seed: the first episode's; the others' follow.
        max_steps: where an episode is given up.

    Returns:
        The files written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source, missing = _drawing(make)
    envs = source.envs
    lines, files = [], []
    for index in range(count):
        episode = EpisodeSource(source, seed=seed + index)
        total, frames = _play(policy, episode, envs if missing is None else None, max_steps)
        lines.append(f"episode {index}: return {total:g} in {len(frames)} steps, seed {seed + index}")
        if missing is None:
            files.append(directory / f"episode_{index}.gif")
            _write_gif(files[-1], [frame for frame in frames if frame is not None], envs.metadata.get("render_fps", 30))
    text = directory / "episodes.txt"
    text.write_text("\n".join(([missing] if missing else []) + lines) + "\n", encoding="utf-8")
    envs.close()
    return [*files, text]


def _drawing(make: Callable[[str | None], VectorEnvSource]) -> tuple[VectorEnvSource, str | None]:
    """Make an environment that draws, or one that does not and the reason."""
    plain = make(None)
    if "rgb_array" not in plain.envs.metadata.get("render_modes", []):
        return plain, "no pictures: this environment has no render mode rgb_array"
    try:
        source = make("rgb_array")
        source.envs.render()
    except (gym.error.DependencyNotInstalled, ImportError, ValueError) as error:
        return plain, f"no pictures: {error}"
    plain.envs.close()
    return source, None


def _play(policy: nn.Module, episode: EpisodeSource, envs: Any, max_steps: int) -> tuple[float, list[np.ndarray | None]]:
    """Play one episode; a frame a step, None where nothing draws."""
    state = policy.initial_state(None)  # type: ignore[operator]
    total = 0.0
    frames: list[np.ndarray | None] = []
    while not episode.finished and len(frames) < max_steps:
        frames.append(None if envs is None else np.asarray(envs.render()[0]))
        step = policy.act(episode.obs, state, greedy=True)  # type: ignore[operator]
        state = step.state
        total += float(episode.step(step.action)[1])
    return total, frames


def _write_gif(path: Path, frames: list[np.ndarray], frames_per_second: float) -> None:
    """Write an animation that lasts as long as the episode, with fewer and smaller frames."""
    every = -(-len(frames) // LARGEST_FRAMES)
    pictures = [Image.fromarray(frame) for frame in frames[::every]]
    pictures = [picture.resize((FRAME_WIDTH, round(FRAME_WIDTH * picture.height / picture.width))) for picture in pictures]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 * every / frames_per_second), loop=0)
