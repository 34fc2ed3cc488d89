"""Episodes to look at: an animated GIF and a sheet of frames where the environment can draw, and a text with their returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.recording import write_animation
from seqrl.tasks.control.watching import WHOLE, Frame, drawable, scaled, watch

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
            write_animation(gif, [scaled(frame) for frame in frames[::every]], source.envs.metadata.get("render_fps", 30) / every)
            _write_sheet(png, frames)
    text = directory / "episodes.txt"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    source.envs.close()
    return [*files, text]


def _write_sheet(path: Path, frames: list[Frame]) -> None:
    """Write up to a dozen frames, evenly spread from the first to the last, row by row on one picture."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int))
    pictures = [Image.fromarray(scaled(frames[index])) for index in chosen]
    columns = min(SHEET_COLUMNS, len(pictures))
    width, height = pictures[0].width + SHEET_GAP, pictures[0].height + SHEET_GAP
    sheet = Image.new("RGB", (columns * width + SHEET_GAP, -(-len(pictures) // columns) * height + SHEET_GAP), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (SHEET_GAP + place % columns * width, SHEET_GAP + place // columns * height))
    sheet.save(path)
