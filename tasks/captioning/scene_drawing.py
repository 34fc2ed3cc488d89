"""Pictures of scenes: painted backgrounds, and figures that are rendered once per look and then pasted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from seqrl.tasks.captioning.scene_layout import COLOURS, LOOKS, SHAPES, TEXTURES, Draws, Placed, Scene, place

_DARK_MARKS = {"white", "yellow", "pink"}
_TILTS = (-0.2, 0.0, 0.2)
_SAMPLES = 4
_MARGIN = 1.12
# Two groups of three and of four, and two further pairs.
MAX_FIGURES = 12
# A figure is hidden when another one is drawn over its middle.
_HIDES_WITHIN = 0.8


def draw_figures(scene: Scene, image_size: int, draws: Draws) -> tuple[np.ndarray, list[Placed]]:
    """Paint a scene.

    Args:
        scene: what to paint.
        image_size: S, pixels.
        draws: for the play in position, size and light.

    Returns:
        uint8 [3, S, S], and its figures from back to front.
    """
    canvas = _background(scene.background, image_size, int(draws.number() * 12)) * np.float32(draws.number(0.92, 1.06))
    figures = place(scene, draws)
    for figure in figures:
        if not figure.thing.in_air:
            shadow = _shadow(max(2, round(figure.radius * image_size)))
            _paste(canvas, np.zeros_like(shadow), shadow, figure.x * image_size, (figure.y + figure.radius) * image_size)
        thing = figure.thing
        radius = max(2, round(figure.radius * image_size))
        colour, alpha = _sprite(thing.shape, thing.colour, thing.texture, radius, figure.tilt)
        _paste(canvas, colour, alpha, figure.x * image_size, figure.y * image_size)
    return np.clip(canvas, 0, 255).astype(np.uint8).transpose(2, 0, 1), figures


def describe_figures(figures: Sequence[Placed]) -> np.ndarray:
    """List the figures whose middle can be seen.

    Args:
        figures: of one scene, from back to front.

    Returns:
        float32 [MAX_FIGURES, 5]: x and y as shares of the picture, indices of shape, colour and texture; rows of -1 fill up.
    """
    rows = np.full((MAX_FIGURES, 5), -1, dtype=np.float32)
    seen = [figure for place, figure in enumerate(figures) if _is_seen(figure, figures[place + 1 :])]
    for row, figure in zip(rows, seen, strict=False):
        thing = figure.thing
        row[:] = figure.x, figure.y, SHAPES.index(thing.shape), COLOURS.index(thing.colour), TEXTURES.index(thing.texture)
    return rows


def _is_seen(figure: Placed, in_front: Sequence[Placed]) -> bool:
    inside = 0 <= figure.x < 1 and 0 <= figure.y < 1
    return inside and all(np.hypot(other.x - figure.x, other.y - figure.y) >= _HIDES_WITHIN * other.radius for other in in_front)


def _paste(canvas: np.ndarray, colour: np.ndarray, alpha: np.ndarray, x: float, y: float) -> None:
    """Blend a square sprite with its centre at (x, y), cut at the picture's border."""
    side, size = alpha.shape[0], canvas.shape[0]
    left, top = round(x - side / 2), round(y - side / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, size), min(top + side, size)
    if x0 >= x1 or y0 >= y1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    under = canvas[y0:y1, x0:x1]
    under += (colour[part] - under) * alpha[part]


@lru_cache(maxsize=64)
def _shadow(radius: int) -> np.ndarray:
    steps = np.linspace(-1.2, 1.2, 2 * radius + 1, dtype=np.float32)
    distance = np.hypot(steps[None, :], steps[:, None] * 3.4)
    return (0.42 * np.clip(1.25 - distance, 0, 1))[..., None].astype(np.float32)


@lru_cache(maxsize=16_384)
def _sprite(shape: str, colour: str, texture: str, radius: int, tilt: int) -> tuple[np.ndarray, np.ndarray]:
    """Render a figure: colour float32 [D, D, 3] and opacity float32 [D, D, 1]."""
    side = 2 * int(np.ceil(radius * _MARGIN)) + 1
    steps = (np.arange(side * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES - side / 2
    x, y = np.meshgrid(steps / radius, steps / radius)
    angle = 0.0 if shape in ("heart", "moon") else _TILTS[tilt]
    turned_x, turned_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = _OUTLINES[shape](turned_x, turned_y)
    base = np.array(LOOKS["colours"][colour], dtype=np.float32)
    mark = np.array((70, 60, 80) if colour in _DARK_MARKS else (252, 248, 238), dtype=np.float32)
    painted = np.where(_marks(texture, turned_x, turned_y)[..., None], mark, base)
    light = 1.02 - 0.2 * (0.5 * x + 0.8 * y)
    if shape == "ball":
        light += 0.3 * np.clip(1 - 2.2 * np.hypot(x + 0.35, y + 0.4), 0, 1) - 0.22 * np.clip(np.hypot(x, y) - 0.55, 0, 1)
    painted = painted * light[..., None]
    rim = (distance > -0.8 / radius - 0.03)[..., None]
    edge = np.array((120, 120, 132), dtype=np.float32) if colour == "black" else 0.55 * base
    painted = np.where(rim, edge, painted)
    inside = (distance < 0).astype(np.float32)[..., None]

    def shrink(fine: np.ndarray) -> np.ndarray:
        return fine.reshape(side, _SAMPLES, side, _SAMPLES, -1).mean(axis=(1, 3))

    alpha = shrink(inside)
    return shrink(painted * inside) / np.maximum(alpha, 1e-6), alpha


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, down = abs(x) * 1.02, y + 0.12
    lobes = np.hypot(across - 0.46, down + 0.28) - 0.52
    return np.minimum(lobes, np.maximum(0.72 * across + 0.69 * down - 0.66, -down - 0.28))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle, length = np.arctan2(x, -y), np.hypot(x, y)
    fifth = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    # The edge of a five-pointed star runs from its tip (radius 1) to its notch (radius 0.42, 36 degrees further).
    across, along = length * np.sin(fifth), length * np.cos(fifth)
    notch_across, notch_along = 0.45 * np.sin(np.pi / 5), 0.45 * np.cos(np.pi / 5)
    normal = np.array([1.05 - notch_along, notch_across]) / np.hypot(1.05 - notch_along, notch_across)
    return across * normal[0] + (along - 1.05) * normal[1]


# Signed distance (roughly) to the outline of a shape of radius 1: negative inside.
_OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ball": lambda x, y: np.hypot(x, y) - 0.98,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.84,
    "triangle": lambda x, y: np.maximum(0.88 * abs(x) - 0.48 * y - 0.46, y - 0.84),
    "diamond": lambda x, y: (abs(x) * 1.3 + abs(y) - 1.0) / 1.64,
    "cross": lambda x, y: np.minimum(np.maximum(abs(x) - 0.92, abs(y) - 0.33), np.maximum(abs(x) - 0.33, abs(y) - 0.92)),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) - 0.27,
    "moon": lambda x, y: np.maximum(np.hypot(x, y) - 0.96, 0.82 - np.hypot(x - 0.5, y + 0.22)),
    "heart": _heart,
    "star": _star,
}


def _marks(texture: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the texture's second colour is."""
    if texture == "striped":
        return ((x + y) * 0.7071 / 0.52) % 1.0 < 0.45
    if texture == "dotted":
        row = np.floor(y / 0.5 + 0.5)
        return np.hypot((x + 0.25 * (row % 2)) % 0.5 - 0.25, (y + 0.25) % 0.5 - 0.25) < 0.15
    if texture == "chequered":
        return (np.floor(x / 0.42) + np.floor(y / 0.42)) % 2 == 0
    return np.zeros(x.shape, dtype=bool)


@lru_cache(maxsize=256)
def _background(kind: str, image_size: int, variant: int) -> np.ndarray:
    """Paint one of a few variants of a background, float32 [S, S, 3]."""
    generator = np.random.default_rng([variant, sum(kind.encode())])
    paint = LOOKS["backgrounds"][kind]
    horizon = paint["share"] + generator.uniform(-0.04, 0.04)
    y = ((np.arange(image_size, dtype=np.float32) + 0.5) / image_size)[:, None]
    x = y.T

    def blend(colours: Sequence[Sequence[int]], weight: np.ndarray) -> np.ndarray:
        weight, (top, low) = np.clip(weight, 0, 1)[..., None], np.array(colours, dtype=np.float32)
        return top * (1 - weight) + low * weight

    everywhere = np.zeros_like(x + y)
    canvas = blend(paint["sky"], y / horizon + everywhere)
    _decorate_sky(canvas, kind, x, y, horizon, generator)
    ground = blend(paint["ground"], (y - horizon) / (1 - horizon) + everywhere)
    ground += _grain(kind, x + everywhere, y + everywhere, image_size, generator)[..., None]
    line = horizon + (0.02 * np.sin(5 * x + generator.uniform(0, 6)) if kind in ("meadow", "snow", "night") else 0.0)
    return np.where((y > line)[..., None], ground, canvas)


def _decorate_sky(canvas: np.ndarray, kind: str, x: np.ndarray, y: np.ndarray, horizon: float, generator: np.random.Generator) -> None:
    """Add what stands behind the things: clouds, sea, stars, mountains, houses."""
    if kind in ("meadow", "beach"):
        for _ in range(3):
            centre_x, centre_y, width = generator.uniform(0, 1), generator.uniform(0.06, 0.28), generator.uniform(0.08, 0.16)
            cloud = np.clip(1.3 - np.hypot((x - centre_x) / width, (y - centre_y) / (0.35 * width)), 0, 0.8)
            canvas += (255 - canvas) * cloud[..., None]
    if kind == "meadow":
        hills = y > horizon - 0.07 - 0.05 * np.sin(7 * x + generator.uniform(0, 6))
        canvas[hills] = (104, 158, 96)
    elif kind == "beach":
        sea = np.broadcast_to(y > horizon - 0.15, canvas.shape[:2])
        waves = 10 * np.sin(60 * y + 3 * np.sin(9 * x + generator.uniform(0, 6)))
        canvas[sea] = (np.array((36, 122, 178), dtype=np.float32) + waves[..., None])[sea]
    elif kind == "night":
        stars = generator.random(canvas.shape[:2]) < 0.018
        canvas[stars] = generator.uniform(130, 250, size=(int(stars.sum()), 1))
    elif kind == "snow":
        peaks = np.zeros_like(x + y, dtype=bool)
        for _ in range(3):
            peaks |= y - (horizon - generator.uniform(0.16, 0.3)) > 0.8 * abs(x - generator.uniform(0, 1))
        canvas[peaks] = (138, 156, 182)
    elif kind == "street":
        edges = np.cumsum(generator.uniform(0.1, 0.18, size=12))
        heights = generator.uniform(0.2, 0.44, size=12)
        house = np.searchsorted(edges, np.minimum(x[0], edges[-2]))
        walls = y > horizon - heights[house][None, :]
        windows = walls & (y * 16 % 1 > 0.5) & (x * 16 % 1 > 0.5) & (y < horizon - 0.04)
        canvas[walls] = (104, 92, 112)
        canvas[windows] = (244, 208, 120)
    elif kind == "table":
        canvas -= 8 * (np.sin(50 * x + 0 * y) > 0.6)[..., None]


def _grain(kind: str, x: np.ndarray, y: np.ndarray, image_size: int, generator: np.random.Generator) -> np.ndarray:
    """Give the ground its unevenness."""
    noise = generator.normal(0, 1, size=(image_size, image_size)).astype(np.float32)
    if kind == "table":
        planks = np.where((y * 12) % 1 < 0.1, -26.0, 0.0)
        return planks + 5 * np.sin(30 * y + 2 * np.sin(8 * x)) + 2 * noise
    if kind == "street":
        lane = (abs(y - 0.93) < 0.016) & ((x * 4) % 1 < 0.55)
        return np.where(lane, 110.0, 3 * noise)
    return {"meadow": 9.0, "beach": 6.0, "night": 3.0, "snow": 3.0}[kind] * noise
