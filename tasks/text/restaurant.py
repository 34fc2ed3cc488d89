"""Built-in pairs: dialogue acts about restaurants and how people would say them, slots in the place of their values, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from seqrl.settings import Count, check_settings
from seqrl.tasks.text.pairs import Pairs

PHRASINGS = 6


@dataclass
class RestaurantConfig:
    """How many acts there are; see `builtin_pairs`.

    Attributes:
        num_dev: acts held out to choose by.
        num_test: acts held out to report.
        seed: of the phrasings, and of which acts are held out.
    """

    num_dev: Count = 40
    num_test: Count = 40
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)


def builtin_pairs(config: RestaurantConfig) -> dict[str, Pairs]:
    """Make acts such as `inform SLOT_NAME SLOT_FOOD kidsallowed=yes` with phrasings of each; no act stands in two splits.

    Raises:
        ValueError: when more are to be held out than there are.
    """
    draws = random.Random(config.seed)
    acts = _acts()
    if config.num_dev + config.num_test >= len(acts):
        raise ValueError(f"builtin: expected fewer than {len(acts)} acts to be held out, got {config.num_dev + config.num_test}")
    draws.shuffle(acts)
    pairs = Pairs([" ".join(act) for act in acts], [_phrasings(act, draws) for act in acts])
    dev, test = config.num_dev, config.num_dev + config.num_test
    return {"dev": pairs.part(slice(0, dev)), "test": pairs.part(slice(dev, test)), "train": pairs.part(slice(test, None))}


@cache
def _phrases() -> dict[str, Any]:
    """Read how slots and acts are said, for those alone who make pairs."""
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("restaurant_phrases.yaml").read_text(encoding="utf-8"))
    return found


def _acts() -> list[list[str]]:
    slots, wanted = list(_phrases()["said"]), list(_phrases()["wanted"])
    told = [chosen for size in (1, 2, 3, 4) for chosen in combinations(slots, size) if not set(slots[-2:]) <= set(chosen)]
    acts = [["inform", "SLOT_NAME", *map(_shown, chosen)] for chosen in told]
    acts += [["request", f"{slot}=?"] for slot in _phrases()["asked"]]
    for kind in ("confirm", "inform_no_match"):
        acts += [[kind, *map(_shown, chosen)] for size in (1, 2, 3) for chosen in combinations(wanted, size)]
    return acts + [[kind] for kind in _phrases()["plain"]]


def _shown(slot: str) -> str:
    return slot if "=" in slot else f"SLOT_{slot.upper()}"


def _phrasings(act: list[str], draws: random.Random) -> list[str]:
    """Say an act in `PHRASINGS` ways, all different where there are as many."""
    found = dict.fromkeys(_say(act, draws) for _ in range(20 * PHRASINGS))
    return list(found)[:PHRASINGS]


def _say(act: list[str], draws: random.Random) -> str:
    kind, slots = act[0], [part.removesuffix("=?").removeprefix("SLOT_").lower() for part in act[1:]]

    def drawn(name: str, key: str | None = None) -> str:
        return draws.choice(_phrases()[name] if key is None else _phrases()[name][key])

    if kind in _phrases()["plain"]:
        return drawn("plain", kind)
    if kind == "request":
        return drawn("questions").format(drawn("asked", slots[0]))
    if kind == "inform":
        clauses = [drawn("said", slot) for slot in draws.sample(slots[1:], len(slots) - 1)]
        return f"{drawn('openings')} {_joined(clauses, draws)}"
    wishes = [drawn("wanted", slot) for slot in draws.sample(slots, len(slots))]
    return drawn("confirming" if kind == "confirm" else "no_match").format(_joined(wishes, draws))


def _joined(parts: Sequence[str], draws: random.Random) -> str:
    if len(parts) == 1:
        return parts[0]
    between = draws.choice((" , ", " and "))
    return between.join(parts[:-1]) + draws.choice((" and ", " , and ")) + parts[-1]
