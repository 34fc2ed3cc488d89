"""Built-in pairs: dialogue acts about restaurants and how people would say them, slots in the place of their values, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from seqrl.settings import Count, check_settings
from seqrl.tasks.text.pairs import Pairs

_SAID = {
    "food": ("serves SLOT_FOOD food", "has SLOT_FOOD food", "offers SLOT_FOOD dishes", "cooks SLOT_FOOD", "is a place for SLOT_FOOD food"),
    "area": ("is in SLOT_AREA", "is located in SLOT_AREA", "can be found in SLOT_AREA", "is in the area of SLOT_AREA"),
    "pricerange": ("has SLOT_PRICERANGE prices", "is SLOT_PRICERANGE", "is in the SLOT_PRICERANGE price range"),
    "near": ("is near SLOT_NEAR", "is close to SLOT_NEAR", "lies next to SLOT_NEAR", "is not far from SLOT_NEAR"),
    "goodformeal": ("is good for SLOT_GOODFORMEAL", "is a good choice for SLOT_GOODFORMEAL", "is known for its SLOT_GOODFORMEAL"),
    "phone": ("has the phone number SLOT_PHONE", "can be called at SLOT_PHONE", "has the number SLOT_PHONE"),
    "address": ("has the address SLOT_ADDRESS", "stands at SLOT_ADDRESS", "is at SLOT_ADDRESS"),
    "kidsallowed=yes": ("allows children", "welcomes kids", "is fine for children", "lets you bring kids"),
    "kidsallowed=no": ("does not allow children", "has no room for kids", "does not welcome kids"),
}
_OPENINGS = (
    "SLOT_NAME",
    "the restaurant SLOT_NAME",
    "well , SLOT_NAME",
    "sure , SLOT_NAME",
    "SLOT_NAME is a nice place . it",
    "there is SLOT_NAME . it",
)
_ASKED = {
    "food": ("kind of food", "food", "cuisine"),
    "area": ("area", "part of town"),
    "pricerange": ("price range", "prices"),
    "goodformeal": ("meal", "kind of meal"),
    "near": ("place nearby", "neighbourhood"),
}
_QUESTIONS = (
    "what {} would you like",
    "what {} are you looking for",
    "which {} do you have in mind",
    "do you have a preference for the {}",
    "could you tell me which {} you want",
    "is there a {} that you prefer",
)
_WANTED = {
    "food": ("SLOT_FOOD food", "a place that serves SLOT_FOOD food"),
    "area": ("a place in SLOT_AREA", "something in SLOT_AREA"),
    "pricerange": ("a SLOT_PRICERANGE place", "something in the SLOT_PRICERANGE price range"),
    "near": ("a place near SLOT_NEAR", "something close to SLOT_NEAR"),
    "goodformeal": ("a place for SLOT_GOODFORMEAL", "somewhere good for SLOT_GOODFORMEAL"),
}
_CONFIRMING = (
    "you want {} , is that right",
    "did you say {}",
    "so you are looking for {}",
    "let me confirm , you would like {}",
    "you need {} , correct",
    "are you looking for {}",
)
_NO_MATCH = (
    "i am sorry , there is no {}",
    "sorry , i cannot find {}",
    "there is nothing that matches {}",
    "i have not found {}",
    "unfortunately there is no {}",
    "i am afraid that i do not know {}",
)
_PLAIN = {
    "goodbye": (
        "goodbye",
        "thank you and goodbye",
        "bye , have a nice day",
        "thanks for calling",
        "enjoy your meal , bye",
        "have a good one",
    ),
    "reqmore": (
        "can i help you with anything else",
        "is there anything else",
        "do you need anything else",
        "what else can i do for you",
        "would you like to know more",
        "anything else that you need",
    ),
}

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


def _acts() -> list[list[str]]:
    slots = list(_SAID)
    told = [chosen for size in (1, 2, 3, 4) for chosen in combinations(slots, size) if not set(slots[-2:]) <= set(chosen)]
    acts = [["inform", "SLOT_NAME", *map(_shown, chosen)] for chosen in told]
    acts += [["request", f"{slot}=?"] for slot in _ASKED]
    for kind in ("confirm", "inform_no_match"):
        acts += [[kind, *map(_shown, chosen)] for size in (1, 2, 3) for chosen in combinations(_WANTED, size)]
    return acts + [[kind] for kind in _PLAIN]


def _shown(slot: str) -> str:
    return slot if "=" in slot else f"SLOT_{slot.upper()}"


def _phrasings(act: list[str], draws: random.Random) -> list[str]:
    """Say an act in `PHRASINGS` ways, all different where there are as many."""
    found = dict.fromkeys(_say(act, draws) for _ in range(20 * PHRASINGS))
    return list(found)[:PHRASINGS]


def _say(act: list[str], draws: random.Random) -> str:
    kind, slots = act[0], [part.removesuffix("=?").removeprefix("SLOT_").lower() for part in act[1:]]
    if kind in _PLAIN:
        return draws.choice(_PLAIN[kind])
    if kind == "request":
        return draws.choice(_QUESTIONS).format(draws.choice(_ASKED[slots[0]]))
    if kind == "inform":
        slots = draws.sample(slots[1:], len(slots) - 1)
        clauses = [draws.choice(_SAID[slot]) for slot in slots]
        return f"{draws.choice(_OPENINGS)} {_joined(clauses, draws)}"
    wishes = [draws.choice(_WANTED[slot]) for slot in draws.sample(slots, len(slots))]
    return draws.choice(_CONFIRMING if kind == "confirm" else _NO_MATCH).format(_joined(wishes, draws))


def _joined(parts: Sequence[str], draws: random.Random) -> str:
    if len(parts) == 1:
        return parts[0]
    between = draws.choice((" , ", " and "))
    return between.join(parts[:-1]) + draws.choice((" and ", " , and ")) + parts[-1]
