"""Greedy episodes to look at: what draws an environment, and the frames of an episode."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from seqrl.rollout import play
from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.episodes import EpisodeSource

Frame = NDArray[np.uint8]
Drawer = Callable[[Any], Frame]
FRAME_WIDTH = 300
# Name in an environment's metadata: a frame holds all of the episode so far, and is to be read.
WHOLE = "frame_shows_episode"


def drawable(make: Callable[[str | None], VectorEnvSource]) -> tuple[VectorEnvSource, Drawer | None, str]:
    """Make an environment and a function that draws it.

    Args:
        make: takes a render mode or None, gives a source with one row.

    Returns:
        The source; a function that draws a frame [H, W, 3] uint8, given what is observed, where the environment draws itself or is
        seen as pictures, as Atari is, all of one width but for those that are to be read; and what is missing where neither holds.
    """
    plain = make(None)
    space = plain.envs.single_observation_space
    if "rgb_array" in (plain.envs.metadata.get("render_modes") or []):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is shown
        try:
            source = make("rgb_array")
            source.envs.render()
        except (gym.error.DependencyNotInstalled, ImportError, ValueError) as error:
            return plain, None, f'the environment cannot be drawn: {error}; pip install "seqrl[render]"'
        plain.envs.close()
        size = (lambda frame: frame) if plain.envs.metadata.get(WHOLE) else scaled
        return source, lambda obs: size(np.asarray(source.envs.render()[0], dtype=np.uint8)), ""
    if getattr(space, "dtype", None) == np.uint8 and len(space.shape) >= 2:
        return plain, lambda obs: scaled(_newest_picture(obs)), ""
    return plain, None, "the environment has no render mode rgb_array and is not seen as pictures, so there is nothing to record"


def watch(
    policy: nn.Module, source: VectorEnvSource, draw: Drawer | None, *, seed: int, max_steps: int, every: int = 1
) -> tuple[list[Frame], str]:
    """Play one greedy episode.

    Args:
        policy: acts greedily.
        source: one row.
        draw: gives a frame; nothing is drawn where it is None.
        seed: of the start.
        max_steps: where the episode is given up.
        every: draw before every so many steps, 0 for never; an environment whose frame holds the episode so far is drawn at its end, too.

    Returns:
        The frames, and a line about the episode.
    """
    episode = EpisodeSource(source, seed=seed)
    frames: list[Frame] = []

    def see(step: int) -> None:
        if draw is not None and every and step % every == 0:
            frames.append(draw(episode.obs))

    total, length = play(policy, episode, max_steps=max_steps, before_step=see)
    if draw is not None and source.envs.metadata.get(WHOLE):
        frames.append(draw(episode.obs))
    return frames, f"return {float(total):g} in {int(length)} steps, seed {seed}"


def scaled(frame: Frame) -> Frame:
    """Bring a frame to one width, and to an even height, which MP4 needs."""
    height = 2 * max(1, round(FRAME_WIDTH * frame.shape[0] / frame.shape[1] / 2))
    return np.asarray(Image.fromarray(frame).resize((FRAME_WIDTH, height)), dtype=np.uint8)


def _newest_picture(obs: Any) -> Frame:
    """Take the newest of the stacked grey pictures [1, N, H, W], or the picture itself, [1, H, W, 3] or [1, H, W]."""
    picture = torch.as_tensor(obs)[0].numpy()
    if picture.ndim == 3 and picture.shape[-1] != 3:
        picture = picture[-1]
    return np.asarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2), dtype=np.uint8)
