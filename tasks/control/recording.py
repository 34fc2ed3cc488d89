"""Records episodes as one animation: a GIF, an MP4 where imageio-ffmpeg is installed, or a PNG of how each ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.episodes import EpisodeSource

Frame = NDArray[np.uint8]
# Enough for the eye; more only makes the file larger.
FRAMES_PER_SECOND, FRAME_WIDTH, LAST_FRAME_S = 25, 300, 1.0
SUFFIXES = (".gif", ".mp4", ".png")
# Name in an environment's metadata: a frame holds all of the episode so far, and is to be read.
WHOLE = "frame_shows_episode"


@torch.no_grad()
def record_episodes(
    policy: nn.Module, make: Callable[[str | None], VectorEnvSource], path: Path, *, episodes: int, seed: int, max_steps: int
) -> list[str]:
    """Play greedy episodes and write them, one after the other, as one animation at the environment's own pace.

    A .png gets the last frame of each alone. Where a frame holds the episode so far (`WHOLE`), it keeps its size, and shows the end, too.

    Args:
        policy: acts greedily.
        make: takes a render mode or None, gives a source with one row. Where it cannot draw but is seen as
            pictures, as Atari is, the newest picture that the policy saw is drawn.
        path: the file, .gif, .mp4 or .png.
        episodes: how many.
        seed: of the first episode; the others' follow.
        max_steps: where an episode is given up.

    Returns:
        a line about each episode.

    Raises:
        ValueError: when the environment cannot be drawn, saying what is missing, or the path has another ending.
    """
    check_path(path)
    source, draw = _drawing(make)
    pace = float(source.envs.metadata.get("render_fps") or 30)
    every, still = max(1, round(pace / FRAMES_PER_SECOND)), path.suffix == ".png"
    whole = bool(source.envs.metadata.get(WHOLE))
    frames: list[Frame] = []
    ends: list[Frame] = []
    lines = []
    for index in range(episodes):
        episode = EpisodeSource(source, seed=seed + index)
        state, total, num_steps = policy.initial_state(None), 0.0, 0  # type: ignore[operator]
        while not episode.finished and num_steps < max_steps:
            if num_steps % every == 0 and not (whole and still):
                frames.append(draw(episode.obs) if whole else _scaled(draw(episode.obs)))
            step = policy.act(episode.obs, state, greedy=True)  # type: ignore[operator]
            state, num_steps = step.state, num_steps + 1
            total += float(episode.step(step.action)[1])
        if whole:
            frames.append(draw(episode.obs))
        ends.append(frames[-1])
        # For a moment, so that one sees where an episode ends.
        frames += [frames[-1]] * round(LAST_FRAME_S * pace / every)
        lines.append(f"episode {index}: return {total:g} in {num_steps} steps, seed {seed + index}")
    source.envs.close()
    if still:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(ends)).save(path)
    else:
        write_animation(path, _padded(frames), pace / every)
    return lines


def check_path(path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        ValueError: when the ending is none of .gif, .mp4 and .png, or what writes MP4 is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if path.suffix == ".mp4":
        _ffmpeg(path)


def write_animation(path: Path, frames: Sequence[Frame], frames_per_second: float) -> None:
    """Write frames [H, W, 3] uint8 of one size as a GIF or an MP4, by the ending of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        writer = _ffmpeg(path).write_frames(str(path), (frames[0].shape[1], frames[0].shape[0]), fps=frames_per_second, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / frames_per_second), loop=0)


def _ffmpeg(path: Path) -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ValueError(f'{path}: MP4 needs more than is installed; pip install "seqrl[video]", or choose a .gif') from error
    return imageio_ffmpeg


def _drawing(make: Callable[[str | None], VectorEnvSource]) -> tuple[VectorEnvSource, Callable[[Any], Frame]]:
    """Make an environment, and a function that draws it as it is, given what is observed."""
    plain = make(None)
    space = plain.envs.single_observation_space
    if "rgb_array" in (plain.envs.metadata.get("render_modes") or []):
        plain.envs.close()
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is shown
        try:
            source = make("rgb_array")
            source.envs.render()
        except (gym.error.DependencyNotInstalled, ImportError) as error:
            raise ValueError(f'the environment cannot be drawn: {error}; pip install "seqrl[render]"') from error
        return source, lambda obs: np.asarray(source.envs.render()[0], dtype=np.uint8)
    if getattr(space, "dtype", None) == np.uint8 and len(space.shape) >= 2:
        return plain, _newest_picture
    plain.envs.close()
    raise ValueError("the environment has no render mode rgb_array and is not seen as pictures, so there is nothing to record")


def _newest_picture(obs: Any) -> Frame:
    """Take the newest of the stacked grey pictures [1, N, H, W], or the picture itself, [1, H, W, 3] or [1, H, W]."""
    picture = torch.as_tensor(obs)[0].numpy()
    if picture.ndim == 3 and picture.shape[-1] != 3:
        picture = picture[-1]
    return np.asarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2), dtype=np.uint8)


def _padded(frames: Sequence[Frame]) -> list[Frame]:
    """Bring frames of one width to the height of the largest, with white below."""
    height = max(len(frame) for frame in frames)
    return [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0)), constant_values=255) for frame in frames]


def _scaled(frame: Frame) -> Frame:
    """Bring a frame to one width, and to an even height, which MP4 needs."""
    height = 2 * max(1, round(FRAME_WIDTH * frame.shape[0] / frame.shape[1] / 2))
    return np.asarray(Image.fromarray(frame).resize((FRAME_WIDTH, height)), dtype=np.uint8)
