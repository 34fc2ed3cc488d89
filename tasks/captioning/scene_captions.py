"""Captions of drawn scenes: each writer makes a choice of what to mention, in which order and in which words.

What is prominent is said more often than what is not. The most common single opening belongs to writers who say little,
while the many who say more begin in different ways: the most probable next word leads a captioner that only imitates into a
brief caption, where one that decides what to say would name what most writers agree on.
"""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.tasks.captioning.scene_layout import Draws, Scene, Thing
from seqrl.tasks.captioning.scene_words import WORDS

MIN_WORDS, MAX_WORDS = 8, 18

_FORMS = ((8, "brief"), (10, "place_first"), (10, "acting"), (4, "turned"), (11, "placed"), (12, "related"), (17, "joined"), (8, "all"))


def write_captions(scene: Scene, count: int, draws: Draws) -> list[str]:
    """Write several different captions.

    Args:
        scene: what is seen.
        count: how many.
        draws: for the writers' choices.
    """
    captions: dict[str, None] = {}
    while len(captions) < count:
        captions.setdefault(write_caption(scene, draws))
    return list(captions)


def write_caption(scene: Scene, draws: Draws) -> str:
    """Write one caption of 8 to 18 words, with a capital letter and a full stop.

    Args:
        scene: what is seen.
        draws: for the writer's choices.
    """
    while True:
        text = _sentence(scene, draws)
        if MIN_WORDS <= len(text.replace(",", "").split()) <= MAX_WORDS:
            return text[0].upper() + text[1:] + "."


def _sentence(scene: Scene, draws: Draws) -> str:
    first, second, *others = scene.things
    form = draws.weighted(_FORMS)
    where = draws.weighted(WORDS["places"][scene.background])
    if form == "brief":
        bare = _phrase(first, draws, size=0.1, texture=0.1, colour=0.4)
        return f"there {'is' if first.count == 1 else 'are'} {bare} {draws.weighted(WORDS['brief_ends'])}{_sometimes(where, 0.5, draws)}"
    main = _phrase(first, draws, size=0.4, texture=0.6)
    side = _phrase(second, draws, size=0.2, texture=0.3)
    from_second, from_first = (WORDS["relations"][scene.relation][view] for view in ("from_second", "from_first"))
    if form == "place_first":
        rest = _link(from_second, draws) + f" {side}" if draws.chance(0.75) else draws.weighted(WORDS["columns"][first.column])
        return f"{where} {_verb(first, draws)} {main} {rest}"
    if form == "acting":
        column = _sometimes(draws.weighted(WORDS["columns"][first.column]), 0.3, draws)
        rest = _sometimes(f"{_link(from_second, draws)} {side}", 0.6, draws)
        return f"{main} {_verb(first, draws)}{column} {where}{rest}"
    if form == "turned":
        return f"{side} {_verb(second, draws)} {draws.weighted(from_first)} {main}{_sometimes(where, 0.6, draws)}"
    return f"{draws.weighted(WORDS['openings'])} {_listing(form, scene, main, side, where, draws)}".strip()


def _listing(form: str, scene: Scene, main: str, side: str, where: str, draws: Draws) -> str:
    """Name the things without a verb, so that an opening may come before."""
    others = scene.things[2:]
    from_second = WORDS["relations"][scene.relation]["from_second"]
    if form == "placed":
        return f"{main} {where} {_link(from_second, draws)} {side}"
    if form == "related":
        return f"{main} {draws.weighted(from_second)} {side}{_sometimes(where, 0.7, draws)}"
    if form == "joined" or not others:
        return f"{main} {draws.weighted(WORDS['additions'])} {side}{_sometimes(where, 0.85, draws)}"
    third = _phrase(draws.pick(others), draws, size=0.25, texture=0.0)
    return f"{main}, {side} and {third}{_sometimes(where, 0.6, draws)}"


def _phrase(thing: Thing, draws: Draws, *, size: float, texture: float, colour: float = 0.93) -> str:
    """Name a thing: count, size, texture, colour and noun, some of it left out."""
    words = []
    if thing.size != "medium" and draws.chance(size):
        words.append(draws.weighted(WORDS["sizes"][thing.size]))
    behind = ""
    if thing.texture != "plain" and draws.chance(texture):
        before, behind = draws.weighted(WORDS["textures"][thing.texture])
        words += [before] if before else []
    if draws.chance(colour):
        words.append(draws.weighted(WORDS["colours"][thing.colour]))
    singular, plural = draws.weighted(WORDS["nouns"][thing.shape])
    words.append(singular if thing.count == 1 else plural)
    words += [behind] if behind else []
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article if thing.count == 1 else draws.weighted(WORDS["counts"][str(thing.count)]), *words])


def _verb(thing: Thing, draws: Draws) -> str:
    singular, plural = draws.weighted(WORDS["in_air" if thing.in_air else "on_ground"])
    return singular if thing.count == 1 else plural


def _link(wordings: Sequence[tuple[int, str]], draws: Draws) -> str:
    """Join a second thing to the first: by where it is, or by a mere "and"."""
    return draws.weighted(WORDS["additions"] if draws.chance(0.5) else wordings)


def _sometimes(words: str, probability: float, draws: Draws) -> str:
    return f" {words}" if draws.chance(probability) else ""
