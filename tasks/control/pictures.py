"""Episodes to look at: an animated GIF and a sheet of frames where the environment can draw, and a text with their returns."""

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
from seqrl.tasks.control.episodes import EpisodeSource
from seqrl.tasks.control.recording import WHOLE

LARGEST_FRAMES = 150
FRAME_WIDTH = 300
SHEET_FRAMES, SHEET_COLUMNS, SHEET_GAP = 12, 4, 6


@torch.no_grad()
def draw_episodes(
    policy: nn.Module, make: Callable[[str | None], VectorEnvSource], directory: Path, *, count: int, seed: int, max_steps: int
) -> list[Path]:
    """Play greedy episodes, write a GIF and a PNG of some of its frames for each, and `episodes.txt`.

    Where the environment cannot draw, there is the text alone, and it says why. Where a frame holds the episode so far, the last one is.

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
        if missing is None and envs.metadata.get(WHOLE):
            files += [directory / f"episode_{index}.png"]
            Image.fromarray(np.asarray(envs.render()[0])).save(files[-1])
        elif missing is None:
            drawn = [frame for frame in frames if frame is not None]
            files += [directory / f"episode_{index}.gif", directory / f"episode_{index}.png"]
            _write_gif(files[-2], drawn, envs.metadata.get("render_fps", 30))
            _write_sheet(files[-1], drawn)
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
    pictures = [_picture(frame) for frame in frames[::every]]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 * every / frames_per_second), loop=0)


def _write_sheet(path: Path, frames: list[np.ndarray]) -> None:
    """Write up to a dozen frames, evenly spread from the first to the last, row by row on one picture."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int))
    pictures = [_picture(frames[index]) for index in chosen]
    columns = min(SHEET_COLUMNS, len(pictures))
    width, height = pictures[0].width + SHEET_GAP, pictures[0].height + SHEET_GAP
    sheet = Image.new("RGB", (columns * width + SHEET_GAP, -(-len(pictures) // columns) * height + SHEET_GAP), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (SHEET_GAP + place % columns * width, SHEET_GAP + place // columns * height))
    sheet.save(path)


def _picture(frame: np.ndarray) -> Image.Image:
    """Make a picture of the width of all."""
    picture = Image.fromarray(frame)
    return picture.resize((FRAME_WIDTH, round(FRAME_WIDTH * picture.height / picture.width)))
