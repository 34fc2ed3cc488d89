"""What a drawn scene holds and where: things with shape, colour, size, texture and count, and how they stand together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seqrl.metrics.text_files import read_json

# Of each background the upper and lower colour of sky and ground, the sky's share, and which colours of things could not be told before it.
LOOKS: dict[str, Any] = read_json(Path(__file__).with_name("scene_looks.json"))
BACKGROUNDS, COLOURS = tuple(LOOKS["backgrounds"]), tuple(LOOKS["colours"])
SHAPES = ("ball", "square", "triangle", "star", "heart", "diamond", "cross", "ring", "moon")
TEXTURES = ("plain", "striped", "dotted", "chequered")
RELATIONS = ("left", "right", "above", "below", "behind", "front")

_RADIUS = {"small": 0.115, "medium": 0.155, "large": 0.215}
_GROUP_RADIUS = {"small": 0.08, "medium": 0.1}
_COLUMN = {"left": 0.21, "middle": 0.5, "right": 0.79}
_COLUMNS = tuple(_COLUMN)
_GROUND, _AIR = 0.84, 0.24
# Centres of a group's members, in units of their radius; y grows downwards.
_ARRANGEMENT = {
    1: ((0.0, 0.0),),
    2: ((-1.05, 0.0), (1.05, 0.0)),
    3: ((0.0, -1.7), (-1.05, 0.0), (1.05, 0.0)),
    4: ((-1.05, -1.9), (1.05, -1.9), (-1.05, 0.0), (1.05, 0.0)),
}

Choice = TypeVar("Choice")


class Draws:
    """Random choices out of a numpy generator, drawn in blocks because single draws are slow.

    Args:
        generator: is advanced.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._numbers: Iterator[float] = (number for _ in itertools.count() for number in generator.random(4096).tolist())

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw uniformly from [low, high)."""
        return low + (high - low) * next(self._numbers)

    def chance(self, probability: float) -> bool:
        """Give True with a probability."""
        return next(self._numbers) < probability

    def pick(self, options: Sequence[Choice]) -> Choice:
        """Draw one option, all equally likely."""
        return options[int(next(self._numbers) * len(options))]

    def weighted(self, options: Sequence[tuple[float, Choice]]) -> Choice:
        """Draw one of (weight, option); the weights need not add up to 1."""
        left = next(self._numbers) * sum(weight for weight, _ in options)
        for weight, option in options:
            left -= weight
            if left < 0:
                return option
        return options[-1][1]


@dataclass(frozen=True)
class Thing:
    """One thing, or several of a kind standing close together.

    Attributes:
        shape: see SHAPES.
        colour: see COLOURS.
        size: "small", "medium" or "large".
        texture: see TEXTURES.
        count: 1 to 4.
        column: "left", "middle" or "right" third of the picture.
        in_air: floats in the upper half instead of standing on the ground.
    """

    shape: str
    colour: str
    size: str
    texture: str
    count: int
    column: str
    in_air: bool

    @property
    def radius(self) -> float:
        """Half the width of one member, as a share of the picture's width."""
        return _RADIUS[self.size] if self.count == 1 else _GROUP_RADIUS[self.size]


@dataclass(frozen=True)
class Scene:
    """The description of one picture.

    Attributes:
        background: see BACKGROUNDS.
        things: two to four, the most prominent first.
        relation: where the second thing is, seen from the first; see RELATIONS.
    """

    background: str
    things: tuple[Thing, ...]
    relation: str


@dataclass(frozen=True)
class Placed:
    """One drawn figure.

    Attributes:
        thing: what it looks like.
        x: centre, share of the width from the left.
        y: centre, share of the height from the top.
        radius: half its width, share of the picture's width.
        tilt: index of its rotation, 0 to 2.
    """

    thing: Thing
    x: float
    y: float
    radius: float
    tilt: int


def draw_scene(draws: Draws) -> Scene:
    """Draw a description."""
    background = draws.pick(BACKGROUNDS)
    relation = draws.pick(RELATIONS)
    looks: set[tuple[str, str]] = set()

    def thing(size: str, count: int, column: str, in_air: bool, textured: float) -> Thing:
        # Two things of one kind and colour could not be told apart in a caption.
        while True:
            look = draws.pick(SHAPES), draws.pick(COLOURS)
            if look not in looks and look[1] not in LOOKS["backgrounds"][background]["hides"]:
                looks.add(look)
                break
        texture = draws.pick(TEXTURES[1:]) if count == 1 and size != "small" and draws.chance(textured) else "plain"
        return Thing(*look, size, texture, count, column, in_air)

    several = relation not in ("behind", "front") and draws.chance(0.35)
    first_count = draws.pick((2, 3, 4)) if several else 1
    size = "medium" if several or relation == "behind" else "large" if relation == "front" else draws.pick(("medium", "large"))
    columns = {"left": _COLUMNS[1:], "right": _COLUMNS[:2]}.get(relation, _COLUMNS)
    column = draws.pick(columns)
    in_air = relation == "below" or (relation in ("left", "right") and draws.chance(0.25))
    first = thing(size, first_count, column, in_air, 0.6)

    second_column = _COLUMNS[_COLUMNS.index(column) + {"left": -1, "right": 1}.get(relation, 0)]
    second_air = relation == "above" or (in_air and relation != "below")
    second_count = draws.pick((2, 3)) if relation in ("left", "right", "above", "below") and draws.chance(0.2) else 1
    second_size = "small" if relation == "front" else "medium" if relation == "behind" else draws.pick(("small", "medium"))
    second = thing(second_size, second_count, second_column, second_air, 0.4)

    taken = {(first.column, first.in_air), (second.column, second.in_air)}
    slots = [(where, air) for where in _COLUMNS for air in (False, True) if (where, air) not in taken]
    others = []
    for probability in (0.65, 0.3):
        if not draws.chance(probability):
            break
        where, air = slots.pop(int(draws.number() * len(slots)))
        others.append(thing("small", draws.pick((1, 1, 2)), where, air, 0.0))
    return Scene(background, (first, second, *others), relation)


def place(scene: Scene, draws: Draws) -> list[Placed]:
    """Give the figures of a scene from back to front, with a little play in position and size.

    Args:
        scene: the description.
        draws: for the play.
    """
    first, second, *others = scene.things
    side = draws.pick((-1, 1)) if first.column == "middle" else 1 if first.column == "left" else -1
    far = [(other, 0.0, -0.02) for other in others]
    if scene.relation == "behind":
        order = [*far, (second, side * (first.radius + second.radius) * 0.62, -0.13), (first, 0.0, 0.03)]
    elif scene.relation == "front":
        order = [*far, (first, 0.0, -0.03), (second, side * first.radius * 0.75, 0.09)]
    else:
        order = [*far, (second, 0.0, 0.0), (first, 0.0, 0.0)]
    return [figure for thing, right, down in order for figure in _figures(thing, right, down, draws)]


def _figures(thing: Thing, right: float, down: float, draws: Draws) -> Iterator[Placed]:
    radius = thing.radius * draws.number(0.93, 1.07)
    x = _COLUMN[thing.column] + right + draws.number(-0.03, 0.03)
    y = (_AIR if thing.in_air else _GROUND) + down + draws.number(-0.03, 0.03)
    # A floating group hangs around its place, a standing one stands on it.
    rise = 0.0 if not thing.in_air else -min(offset for _, offset in _ARRANGEMENT[thing.count]) / 2
    for offset_x, offset_y in _ARRANGEMENT[thing.count]:
        centre_y = y + (offset_y + rise) * radius - (0.0 if thing.in_air else radius)
        yield Placed(thing, x + offset_x * radius, centre_y, radius, int(draws.number() * 3))
