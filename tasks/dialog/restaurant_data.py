"""The built-in restaurants, the same each time, and the goals that a user may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

FOODS = "british chinese french greek indian italian japanese korean mexican spanish thai turkish".split()
VALUES = (tuple(FOODS), ("centre", "east", "north", "south", "west"), ("cheap", "moderate", "expensive"))
INFORMABLE, REQUESTABLE = ("food", "area", "price"), ("phone", "address", "postcode")
ANY, NONE = len(FOODS), len(FOODS) + 1  # the places of "anything will do" and of "not said yet" behind the values
UNSEEN_SHARE = 0.2

Goals = Literal["all", "train", "unseen"]


@dataclass(frozen=True)
class RestaurantData:
    """E restaurants and G goals.

    Attributes:
        restaurants: [E, 3] numbers of their values.
        constraints: [G, 3] numbers of values, or `ANY`.
        asked: [G, 3] bool, what users of the goal want to know, at least one thing.
    """

    restaurants: NDArray[np.int64]
    constraints: NDArray[np.int64]
    asked: NDArray[np.bool_]

    def name(self, restaurant: int) -> str:
        """Give a restaurant a name."""
        return f"{('golden', 'silver', 'old', 'little', 'royal')[restaurant % 5]} {FOODS[self.restaurants[restaurant, 0]]} {restaurant}"

    def fact(self, restaurant: int, slot: str) -> str:
        """Give what a restaurant's phone, address or postcode is."""
        facts = {
            "phone": f"01223 {300_000 + 7_919 * restaurant % 600_000}",
            "address": f"{1 + 37 * restaurant % 98} {('mill', 'park', 'bridge', 'castle', 'regent')[restaurant % 5]} street",
            "postcode": f"CB{1 + restaurant % 5} {1 + restaurant % 9}{chr(65 + restaurant % 26)}{chr(65 + restaurant // 26 % 26)}",
        }
        return facts[slot]


def restaurant_data(num_restaurants: int = 110, goals: Goals = "all") -> RestaurantData:
    """Draw restaurants, some foods more often than others, and list goals.

    Args:
        num_restaurants: E.
        goals: all constraints with all questions, or the four in five to "train" with, or the others, which stay "unseen".

    Raises:
        ValueError: when there is no such set of goals.
    """
    if goals not in get_args(Goals):
        raise ValueError(f"goals: expected one of {', '.join(get_args(Goals))}, got {goals!r}")
    random = np.random.default_rng(0)
    weights = [1 / np.arange(2, len(values) + 2) for values in VALUES]
    columns = [random.choice(len(weight), num_restaurants, p=weight / weight.sum()) for weight in weights]
    choices = [np.append(np.arange(len(values)), ANY) for values in VALUES] + [np.arange(1, 2 ** len(REQUESTABLE))]
    grid = np.stack(np.meshgrid(*choices, indexing="ij"), axis=-1).reshape(-1, len(choices))
    unseen = np.random.default_rng(0).random(len(grid)) < UNSEEN_SHARE
    grid = grid if goals == "all" else grid[unseen == (goals == "unseen")]
    asked = grid[:, -1:] >> np.arange(len(REQUESTABLE)) & 1 == 1
    return RestaurantData(np.stack(columns, axis=1), grid[:, :-1], asked)


def value_of(slot: int, number: int) -> str:
    """Name a value, "anything" or "not said"."""
    return VALUES[slot][number] if number < len(VALUES[slot]) else ("anything" if number == ANY else "not said")


def matches(restaurants: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which restaurants [E, 3] have the values wanted [N, 3], where `ANY` and `NONE` want nothing; gives [N, E]."""
    free = wanted >= ANY
    fits = np.ones((len(wanted), len(restaurants)), dtype=bool)
    for slot in range(wanted.shape[1]):
        fits &= free[:, slot, None] | (restaurants[:, slot] == wanted[:, slot, None])
    return fits
