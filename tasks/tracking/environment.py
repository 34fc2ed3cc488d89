"""Follow an axon: the actor stands in the image, sees a patch around it, and moves by a step of two real numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from seqrl.tasks.control.episodes import EPISODE_METRICS
from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.control.watching import WHOLE
from seqrl.tasks.tracking import MOST_STEPS
from seqrl.tasks.tracking.axons import NUM_PLACES, Reals, distance_to_pieces, draw_axons, profile

METADATA = {"render_modes": ["rgb_array"], "render_fps": 8, WHOLE: True, EPISODE_METRICS: ("error_px", "coverage")}
STATE = ("line", "line_px", "image", "centre", "place", "last_step", "turned", "num_steps", "error_sum", "covered")

NUM_SAMPLES = 20  # of the centre line's image along a step
CENTRE_PX = 1.0  # deviation of that image across the line
END_PX = 2.0  # so near to the axon's other end the episode is over
COVER_PX = 2.0  # so near to the track a place of the centre line is covered
COARSE = 2  # pixels between what the coarse patch shows
BORDER = 2  # of zeros around the images, so that what is outside of them is dark


class _Tracks:
    """N images with an actor in each; see `seqrl.tasks.control.games.Games`, and `AxonTracking` for the options.

    Attributes:
        line: [N, K, 2] the centre lines, places (x, y) in pixels.
        line_px: [N] lengths of the centre lines, pixels.
        image, centre: [N, S + 4, S + 4] float32, what is seen and the drawn centre line, each with a border of two dark pixels.
        place: [N, 2] of the actors.
        last_step: [N, 2] pixels; at first the direction of the axon, by one pixel.
        turned: [N] whether the actor has turned back an odd number of times.
        num_steps, error_sum: [N] steps so far, and the sum of the distances to the centre line after each.
        covered: [N, K] which places of the centre line the track has covered.
    """

    def __init__(
        self,
        num_games: int,
        image_size: int = 64,
        patch_size: int = 11,
        max_step: float = 2.0,
        num_others: int = 1,
        num_gaps: int = 1,
        gap_px: float = 4.0,
        noise: float = 0.15,
        progress_reward: bool = True,
    ) -> None:
        _check(image_size, patch_size, max_step, num_others=num_others, num_gaps=num_gaps, gap_px=gap_px, noise=noise)
        self.size, self.max_step, self.progress_reward = image_size, max_step, progress_reward
        self.draw_axons = partial(draw_axons, size=image_size, num_others=num_others, num_gaps=num_gaps, gap_px=gap_px, noise=noise)
        self.lost_px = float(patch_size)
        reach = np.arange(patch_size) - patch_size // 2
        fine = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2).astype(np.float64)
        self.offsets = np.concatenate([fine, COARSE * fine])

        side = image_size + 2 * BORDER
        self.line, self.place, self.last_step = np.zeros((num_games, NUM_PLACES, 2)), np.zeros((num_games, 2)), np.zeros((num_games, 2))
        self.image, self.centre = (np.zeros((num_games, side, side), dtype=np.float32) for _ in range(2))
        self.turned, self.covered = np.zeros(num_games, dtype=bool), np.zeros((num_games, NUM_PLACES), dtype=bool)
        self.num_steps, self.error_sum, self.line_px = np.zeros(num_games, dtype=np.int64), np.zeros(num_games), np.zeros(num_games)
        self.tracks: list[list[Reals]] = [[] for _ in range(num_games)]  # to be drawn
        self.action_space = Box(-1.0, 1.0, (2,), dtype=np.float32)
        low = np.zeros(len(self.offsets) + 1, dtype=np.float32)
        low[-1] = -1.0
        self.observation_space = Box(low, np.ones_like(low), dtype=np.float32)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next step depends on."""
        return {name: getattr(self, name) for name in STATE}

    def start(self, random: np.random.Generator, games: NDArray[np.bool_]) -> None:
        """Draw new images for some games [N], and stand at one end of their axons."""
        count = int(games.sum())
        if not count:
            return
        line, image = self.draw_axons(random, count)
        inner = slice(BORDER, -BORDER)
        self.line[games], self.place[games] = line, line[:, 0]
        self.line_px[games] = np.linalg.norm(np.diff(line, axis=1), axis=-1).sum(axis=1)
        self.image[games, inner, inner], self.centre[games, inner, inner] = image, profile(line, self.size, CENTRE_PX)
        self.last_step[games] = _unit(line[:, 1] - line[:, 0])
        self.turned[games], self.num_steps[games], self.error_sum[games] = False, 0, 0.0
        self.covered[games] = np.linalg.norm(line - line[:, :1], axis=-1) <= COVER_PX
        for game in np.flatnonzero(games):
            self.tracks[game] = [self.place[game]]

    def play(self, action: Reals, random: np.random.Generator, games: NDArray[np.bool_]) -> tuple[Reals, NDArray[np.bool_]]:
        """Take a step in some games; give the rewards, and whether the end was found or the axon lost, [N] each."""
        step = self.max_step * _turned(np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)[:, None], self.last_step)[:, 0]
        step = np.where(games[:, None], step, 0.0)
        reward, turned = track_reward(self.centre, self.place, step, self.last_step, self.turned)
        before, self.place, self.turned = self.place, self.place + step, np.where(games, turned, self.turned)
        self.last_step = np.where(step.any(axis=1, keepdims=True), step, self.last_step)
        distance = distance_to_pieces(self.place[:, None], self.line[:, :-1], self.line[:, 1:]).min(axis=1)
        covered = self.covered | (games[:, None] & (distance_to_pieces(self.line, before[:, None], self.place[:, None]) <= COVER_PX))
        if self.progress_reward:
            new = (covered & ~self.covered).mean(axis=1) * self.line_px / self.max_step
            reward = np.where(step.any(axis=1), reward * new, reward)
        self.covered = covered
        self.num_steps, self.error_sum = self.num_steps + games, self.error_sum + games * distance
        for game in np.flatnonzero(games):
            self.tracks[game].append(self.place[game])
        found = np.linalg.norm(self.place - self.line[:, -1], axis=1) <= END_PX
        return np.where(games, reward, 0.0), games & (found | (distance > self.lost_px))

    def seen(self) -> NDArray[np.float32]:
        """Give what is seen, [N, 2p² + 1]: the patch at both scales, ahead to the right, and -1 after an odd number of turns, else 1."""
        patches = bilinear(self.image, self.place[:, None] + _turned(self.offsets, self.last_step))
        return np.concatenate([patches, np.where(self.turned, -1.0, 1.0)[:, None]], axis=1).astype(np.float32)

    def info(self) -> dict[str, NDArray[Any]]:
        """Give what each track is worth so far: mean distance of its places to the centre line, and the share of that line it covers."""
        return {"error_px": self.error_sum / np.maximum(self.num_steps, 1), "coverage": self.covered.mean(axis=1)}

    def draw(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw each track over its image."""
        from seqrl.tasks.tracking.drawing import draw_track

        inner = slice(BORDER, -BORDER)
        return tuple(
            draw_track(image[inner, inner], line, np.array(track))
            for image, line, track in zip(self.image, self.line, self.tracks, strict=True)
        )


def _check(image_size: int, patch_size: int, max_step: float, **amounts: float) -> None:
    """Refuse options that are out of range, or do not go together."""
    counts = {"image_size": image_size, "patch_size": patch_size, "num_others": amounts["num_others"], "num_gaps": amounts["num_gaps"]}
    for name, count in counts.items():
        if not isinstance(count, int):
            raise ValueError(f"{name}: expected a whole number, got {count!r}")
    if patch_size < 3 or patch_size % 2 == 0:
        raise ValueError(f"patch_size: expected an odd number of pixels of at least 3, got {patch_size}")
    view = COARSE * (patch_size - 1) + 1
    if image_size < view:
        raise ValueError(
            f"image_size: expected at least the {view} pixels that the coarse patch of patch_size {patch_size} covers, got {image_size}; "
            "choose larger images or a smaller patch"
        )
    if not 0 < max_step <= patch_size // 2:
        raise ValueError(
            f"max_step: expected more than 0 and at most half of the patch, {patch_size // 2} pixels, so that the actor sees where a step "
            f"leads, got {max_step}; choose shorter steps or a larger patch_size"
        )
    for name, amount in amounts.items():
        if not 0 <= amount < np.inf:
            raise ValueError(f"{name}: expected 0 or more, got {amount}")


def bilinear(images: NDArray[np.float32], places: Reals) -> Reals:
    """Give the brightness of images [N, S + 4, S + 4] with a dark border of 2 at places [N, M, 2] of what is inside; 0 outside."""
    side = images.shape[1]
    shifted = np.clip(places + BORDER, 0.0, side - 1 - 1e-6)
    whole = shifted.astype(np.int64)
    right, below = shifted[..., 0] - whole[..., 0], shifted[..., 1] - whole[..., 1]
    corner = (np.arange(len(images))[:, None] * side + whole[..., 1]) * side + whole[..., 0]
    flat = images.reshape(-1)
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + side] * (1 - right) + flat[corner + side + 1] * right
    return upper * (1 - below) + lower * below


def track_reward(
    centre: NDArray[np.float32], place: Reals, step: Reals, last_step: Reals, turned: NDArray[np.bool_]
) -> tuple[Reals, NDArray[np.bool_]]:
    """Reward steps along the centre line: r = (-1)^k mean_s G(p + s a), s in [0, 1]; -1 where a = 0.

    G is the image of the centre line, exp(-d² / 2) at distance d, read between its pixels; k counts how often the actor has turned by more
    than 90 degrees so far, this step included.

    Args:
        centre: [N, S + 4, S + 4] G, with its border.
        place: [N, 2] p, pixels.
        step: [N, 2] a, pixels.
        last_step: [N, 2] that before.
        turned: [N] whether k was odd before this step.

    Returns:
        (reward [N], whether k is odd now [N]).

    Source: Dai et al. 2019 (Deep reinforcement learning for subpixel neural tracking), section 3.1 and algorithm 1.
    Differs from: algorithm 1, which sums over 100 places, where the text averages; here 20 places are averaged. How wide the paper's
    centre line is drawn it does not tell.
    """
    share = (np.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES
    along = bilinear(centre, place[:, None] + share[:, None] * step[:, None]).mean(axis=1)
    turned = turned ^ ((step * last_step).sum(axis=1) < 0)
    return np.where(step.any(axis=1), np.where(turned, -along, along), -1.0), turned


def _unit(vectors: Reals) -> Reals:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _turned(places: Reals, ahead: Reals) -> Reals:
    """Turn places [..., M, 2], so that x points ahead [N, 2]; give [N, M, 2]."""
    cos, sin = np.moveaxis(_unit(ahead)[:, None], -1, 0)
    x, y = places[..., 0], places[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


class AxonTracking(OneGame):
    """One axon, to be followed from one end to the other in steps of sub-pixel length.

    An action in [-1, 1]² is a step ahead and to the right, in units of `max_step`; ahead is the direction of the last step. What is seen
    are two patches around the actor, of `patch_size` pixels at full resolution and of as many at every second pixel, turned like the actor
    and read between the pixels; and whether it has turned back. The episode ends within 2 pixels of the other end, farther from the centre
    line than `patch_size` pixels, or after 100 steps. The reward is `track_reward`'s; `info` has the error in pixels and the coverage of
    the track so far.

    Args:
        image_size: side of the images, pixels.
        patch_size: side of the patches; odd.
        max_step: largest step in x and in y, pixels.
        num_others: axons beside the one that is to be followed; they may cross it.
        num_gaps: of the axon, where it is dark.
        gap_px: their length.
        noise: deviation of the noise; brightness is from 0 to 1.
        progress_reward: multiply the reward of a step by the length of the centre line that it covers for the first time, over `max_step`.
            The paper's reward alone, False, also pays for walking in circles on the line, which nothing counts as a turn.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: when a setting is out of range, the image too small for the patch, or the step too long for it.

    Source: Dai et al. 2019 (Deep reinforcement learning for subpixel neural tracking), section 3.
    Differs from: the paper in `progress_reward`; in patches and steps that turn with the actor, in the place of a picture of the path and
    of three earlier patches; in a Gaussian, cut at `max_step`, where the paper has a beta distribution, and in a critic that sees no more
    than the actor does; in ending an episode when the axon is lost, which the paper leaves out of its errors and here counts in them;
    and in counting as covered what is within 2 pixels of the track, not 3.
    """

    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Tracks(1, **options), render_mode)


class AxonTrackings(ManyGames):
    """Many of them that step at once, with the options of `AxonTracking`; those that have ended are reset by their next step."""

    metadata = {**METADATA, **ManyGames.metadata}

    def __init__(self, num_envs: int = 1, max_episode_steps: int = MOST_STEPS, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Tracks(num_envs, **options), num_envs, max_episode_steps, render_mode)
