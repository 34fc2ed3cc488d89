"""Episodes to look at: an animation and a sheet of frames of each, or all of them as one animation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.watching import WHOLE, Frame, drawable, watch

# Enough for the eye; more only makes the file larger.
FRAMES_PER_SECOND, LAST_FRAME_S = 25, 1.0
SUFFIXES = (".gif", ".mp4", ".png")
LARGEST_FRAMES = 150
SHEET_FRAMES, SHEET_COLUMNS, SHEET_GAP = 12, 4, 6


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
    source, draw, missing = drawable(make)
    whole = bool(source.envs.metadata.get(WHOLE))
    lines, files = [f"no pictures: {missing}"] if missing else [], []
    for index in range(count):
        frames, line = watch(policy, source, draw, seed=seed + index, max_steps=max_steps, every=0 if whole else 1)
        lines.append(f"episode {index}: {line}")
        gif, png = directory / f"episode_{index}.gif", directory / f"episode_{index}.png"
        if whole and frames:
            files.append(png)
            Image.fromarray(frames[-1]).save(png)
        elif frames:
            files += [gif, png]
            every = -(-len(frames) // LARGEST_FRAMES)
            write_animation(gif, frames[::every], source.envs.metadata.get("render_fps", 30) / every)
            _write_sheet(png, frames)
    text = directory / "episodes.txt"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    source.envs.close()
    return [*files, text]


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
    source, draw, missing = drawable(make)
    if draw is None:
        source.envs.close()
        raise ValueError(missing)
    pace = float(source.envs.metadata.get("render_fps") or 30)
    every, still = max(1, round(pace / FRAMES_PER_SECOND)), path.suffix == ".png"
    whole = bool(source.envs.metadata.get(WHOLE))
    frames: list[Frame] = []
    ends: list[Frame] = []
    lines = []
    for index in range(episodes):
        drawn, line = watch(policy, source, draw, seed=seed + index, max_steps=max_steps, every=0 if whole and still else every)
        ends.append(drawn[-1])
        # For a moment, so that one sees where an episode ends.
        frames += drawn + [drawn[-1]] * round(LAST_FRAME_S * pace / every)
        lines.append(f"episode {index}: {line}")
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


def _padded(frames: Sequence[Frame]) -> list[Frame]:
    """Bring frames of one width to the height of the largest, with white below."""
    height = max(len(frame) for frame in frames)
    return [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0)), constant_values=255) for frame in frames]


def _write_sheet(path: Path, frames: list[Frame]) -> None:
    """Write up to a dozen frames, evenly spread from the first to the last, row by row on one picture."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int))
    pictures = [Image.fromarray(frames[index]) for index in chosen]
    columns = min(SHEET_COLUMNS, len(pictures))
    width, height = pictures[0].width + SHEET_GAP, pictures[0].height + SHEET_GAP
    sheet = Image.new("RGB", (columns * width + SHEET_GAP, -(-len(pictures) // columns) * height + SHEET_GAP), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (SHEET_GAP + place % columns * width, SHEET_GAP + place // columns * height))
    sheet.save(path)
