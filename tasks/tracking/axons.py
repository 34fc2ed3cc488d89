"""Axons that are drawn on the fly: splines through constrained random walks, with gaps, others that cross them, and noise.

A place is (x, y) in pixels; the centre of the pixel in row y and column x is the place (x, y) itself.

Source: Dai et al. 2019 (Deep reinforcement learning for subpixel neural tracking), section 4.1, synthetic datasets.
Differs from: the paper, whose simulator is told in a sentence: numbers of spans, bends, widths and brightnesses are ours. Gaps and further
axons are ours, too; its synthetic images hold one axon.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

NUM_SPANS, PIECES = 9, 8  # of an axon, and straight pieces of a span
NUM_PLACES = NUM_SPANS * PIECES + 1  # that a centre line is made of
SPAN = (0.09, 0.13)  # length of a span, of the image's side
MARGIN = 0.06  # that walks keep from the border, of the image's side
LARGEST_BEND, TRIES = np.pi / 4, 8  # of a walk from span to span, and walks that are drawn at once
BRIGHTNESS = (0.5, 0.9)
WIDTH_PX, REACH = 1.2, 2.5  # deviation of the bright profile across an axon, and after how many of them it ends
CLEAR_PX = 6.0  # that other axons keep from the place where the axon begins: where two lie on each other, nothing says which is meant


def walk(random: np.random.Generator, count: int, size: int) -> Reals:
    """Draw random walks that stay inside of images, [count, NUM_SPANS + 1, 2].

    A walk starts anywhere, towards the middle's side, and turns by at most 45 degrees from span to span; one that comes too near to the
    border is drawn again.
    """
    middle, reach = (size - 1) / 2, (0.5 - MARGIN) * size
    places, missing = np.empty((count, NUM_SPANS + 1, 2)), np.arange(count)
    while len(missing):
        start = middle + random.uniform(-reach, reach, (len(missing), TRIES, 1, 2))
        turn = random.uniform(-LARGEST_BEND, LARGEST_BEND, (len(missing), TRIES, NUM_SPANS))
        inwards = np.arctan2(middle - start[..., 1], middle - start[..., 0])
        heading = inwards + random.uniform(-np.pi / 2, np.pi / 2, inwards.shape) + np.cumsum(turn, axis=-1)
        length = size * random.uniform(*SPAN, (len(missing), TRIES, 1, 1))
        steps = length * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        tried = np.concatenate([start, start + np.cumsum(steps, axis=2)], axis=2)
        inside = np.abs(tried - middle).max(axis=(2, 3)) <= reach
        found = inside.any(axis=1)
        places[missing[found]] = tried[found, inside[found].argmax(axis=1)]
        missing = missing[~found]
    return places


def spline(places: Reals) -> Reals:
    """Put the Catmull-Rom spline through places [N, P, 2]; 8 straight pieces a span, [N, (P - 1)·8 + 1, 2].

    Between p1 and p2, with p0 before and p3 behind them and t in [0, 1]:
    ½ (2 p1 + (p2 - p0) t + (2 p0 - 5 p1 + 4 p2 - p3) t² + (3 p1 - p0 - 3 p2 + p3) t³). Beyond an end it goes on straight.
    """
    first, last = 2 * places[:, :1] - places[:, 1:2], 2 * places[:, -1:] - places[:, -2:-1]
    all_places = np.concatenate([first, places, last], axis=1)[:, :, None]
    p0, p1, p2, p3 = (all_places[:, shift : shift + places.shape[1] - 1] for shift in range(4))
    t = np.arange(PIECES)[:, None] / PIECES
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.concatenate([curve.reshape(len(places), -1, 2), places[:, -1:]], axis=1)


def distance_to_pieces(place: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """Give the distance, pixels, of places [..., 2] to straight pieces from start to end, which broadcast with them.

    |x - (a + t (b - a))| with t = (x - a)·(b - a) / |b - a|², kept in [0, 1]; a piece of length 0 is the place a.
    """
    along_x, along_y = end[..., 0] - start[..., 0], end[..., 1] - start[..., 1]
    x, y = place[..., 0] - start[..., 0], place[..., 1] - start[..., 1]
    share = np.clip((along_x * x + along_y * y) / np.maximum(along_x**2 + along_y**2, 1e-12), 0.0, 1.0)
    return np.hypot(x - share * along_x, y - share * along_y)


def profile(lines: Reals, size: int, width_px: float = WIDTH_PX, shown: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Draw lines: exp(-d² / 2σ²) at a pixel's distance d to the nearest piece of a line, σ the width; 0 beyond 2.5σ.

    Args:
        lines: [N, K, 2], one an image.
        size: of the images, pixels.
        width_px: σ.
        shown: [N, K - 1], which pieces are drawn; all when None.

    Returns:
        [N, size, size] float32, from 0 to 1.
    """
    start, end = lines[:, :-1], lines[:, 1:]
    image = np.broadcast_to(np.arange(len(lines))[:, None], start.shape[:2])
    if shown is not None:
        start, end, image = start[shown], end[shown], image[shown]
    middle, half = (start + end) / 2, np.linalg.norm(end - start, axis=-1).max(initial=0.0) / 2
    reach = int(REACH * width_px + half + 0.5)  # the middle's pixel is up to half a pixel off
    around = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    pixel = np.rint(middle).astype(np.int64).reshape(-1, 1, 2) + around
    corner = pixel[:, :1]  # distances are the same from here, and small numbers fit into 32 bits
    begin, finish = ((places.reshape(-1, 1, 2) - corner).astype(np.float32) for places in (start, end))
    distance = distance_to_pieces((pixel - corner).astype(np.float32), begin, finish)
    x, y = pixel[..., 0], pixel[..., 1]
    near = (distance <= REACH * width_px) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
    flat = (image.reshape(-1, 1) * size + y) * size + x
    nearest = np.full(len(lines) * size * size, np.inf, dtype=np.float32)
    np.minimum.at(nearest, flat[near], distance[near])
    return np.exp(-(nearest**2) / (2 * width_px**2)).reshape(-1, size, size)


def others_clear_of(begin: Reals, random: np.random.Generator, num_others: int, size: int) -> Reals:
    """Draw other axons [N, num_others, NUM_PLACES, 2] that keep CLEAR_PX from places [N, 2]; one that comes nearer is drawn again."""
    lines = np.empty((len(begin) * num_others, NUM_PLACES, 2))
    away_from, missing = begin.repeat(num_others, axis=0), np.arange(len(lines))
    while len(missing):
        lines[missing] = spline(walk(random, len(missing), size))
        missing = missing[np.linalg.norm(lines[missing] - away_from[missing, None], axis=-1).min(axis=1) < CLEAR_PX]
    return lines.reshape(len(begin), num_others, NUM_PLACES, 2)


def draw_axons(
    random: np.random.Generator, count: int, size: int, *, num_others: int, num_gaps: int, gap_px: float, noise: float
) -> tuple[Reals, NDArray[np.float32]]:
    """Draw images of an axon each, among others.

    Args:
        random: draws everything.
        count: of images.
        size: of their sides, pixels.
        num_others: axons beside the one that is to be followed; they may cross it, but not where it begins.
        num_gaps: where it is dark, in its middle part.
        gap_px: length of a gap.
        noise: deviation of what is added to each pixel; the image is cut at 0 and 1.

    Returns:
        (the axons' centre lines [count, NUM_PLACES, 2], the images [count, size, size]).
    """
    line = spline(walk(random, count, size))
    others = others_clear_of(line[:, 0], random, num_others, size)
    along = np.concatenate([np.zeros((count, 1)), np.cumsum(np.linalg.norm(np.diff(line, axis=1), axis=-1), axis=1)], axis=1)
    middle = (along[:, 1:] + along[:, :-1]) / 2
    gap = along[:, -1:] * random.uniform(0.15, 0.85, (count, num_gaps))
    shown = (np.abs(middle[:, :, None] - gap[:, None]) > gap_px / 2).all(axis=2)
    bright = random.uniform(*BRIGHTNESS, (1 + num_others, count, 1, 1)).astype(np.float32)
    images = bright[0] * profile(line, size, shown=shown)
    for other in range(num_others):
        images = np.maximum(images, bright[1 + other] * profile(others[:, other], size))
    images += noise * random.standard_normal(images.shape, dtype=np.float32)
    return line, np.clip(images, 0.0, 1.0)
