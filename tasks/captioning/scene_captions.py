"""Captions of drawn scenes: each writer makes a choice of what to mention, in which order and in which words.

What is prominent is said more often than what is not. The most common single opening belongs to writers who say little,
while the many who say more begin in different ways: the most probable next word leads a captioner that only imitates into a
brief caption, where one that decides what to say would name what most writers agree on.
"""

from __future__ import annotations

from seqrl.tasks.captioning.scene_layout import Draws, Scene, Thing

MIN_WORDS, MAX_WORDS = 8, 18

# (weight, singular, plural)
_NOUNS = {
    "ball": ((8, "ball", "balls"), (1, "circle", "circles")),
    "square": ((8, "square", "squares"), (1, "box", "boxes"), (1, "block", "blocks")),
    "triangle": ((8, "triangle", "triangles"), (2, "pyramid", "pyramids")),
    "star": ((1, "star", "stars"),),
    "heart": ((1, "heart", "hearts"),),
    "diamond": ((8, "diamond", "diamonds"), (2, "kite", "kites")),
    "cross": ((8, "cross", "crosses"), (2, "plus", "pluses")),
    "ring": ((8, "ring", "rings"), (2, "hoop", "hoops")),
    "moon": ((8, "moon", "moons"), (2, "crescent", "crescents")),
}
_COLOURS = {
    "red": ((9, "red"),),
    "blue": ((1, "blue"),),
    "green": ((1, "green"),),
    "yellow": ((9, "yellow"),),
    "purple": ((8, "purple"), (2, "violet")),
    "orange": ((1, "orange"),),
    "pink": ((9, "pink"),),
    "white": ((1, "white"),),
    "black": ((9, "black"), (1, "dark")),
}
_SIZES = {"small": ((5, "small"), (3, "little"), (2, "tiny")), "medium": ((1, "medium"),), "large": ((4, "big"), (4, "large"), (2, "huge"))}
_TEXTURES = {
    "striped": ((4, "striped", ""), (3, "", "with stripes")),
    "dotted": ((3, "spotted", ""), (3, "dotted", ""), (3, "", "with dots")),
    "chequered": ((4, "chequered", ""), (3, "", "with squares"), (2, "patterned", "")),
}
_COUNTS = {
    2: ((6, "two"), (2, "a pair of"), (1, "a couple of")),
    3: ((7, "three"), (1, "a few"), (1, "a group of")),
    4: ((6, "four"), (2, "several"), (1, "a group of")),
}
_PLACES = {
    "meadow": ((4, "on the grass"), (3, "in a green field"), (3, "in a meadow"), (1, "under a blue sky")),
    "beach": ((5, "on the beach"), (3, "on the sand"), (2, "by the sea"), (1, "near the water")),
    "night": ((4, "at night"), (3, "under the night sky"), (2, "in the dark"), (2, "under the stars")),
    "table": ((5, "on a wooden table"), (3, "on the table"), (2, "on a desk"), (1, "in front of a wall")),
    "snow": ((5, "in the snow"), (3, "on the snow"), (2, "in front of the mountains"), (1, "on a white field"), (1, "in winter")),
    "street": ((4, "on the street"), (3, "in the city"), (2, "on the road"), (2, "in front of tall buildings")),
}
_ON_GROUND = ((8, "sits", "sit"), (4, "lies", "lie"), (4, "stands", "stand"), (3, "is", "are"), (2, "rests", "rest"))
_IN_AIR = ((8, "floats", "float"), (4, "hangs", "hang"), (4, "is", "are"))
_RELATIONS = {
    # The first thing as seen from the second, and the second as seen from the first.
    "left": (
        ((3, "to the right of"), (3, "next to"), (3, "beside"), (2, "near")),
        ((3, "to the left of"), (3, "next to"), (3, "beside"), (2, "near")),
    ),
    "right": (
        ((3, "to the left of"), (3, "next to"), (3, "beside"), (2, "near")),
        ((3, "to the right of"), (3, "next to"), (3, "beside"), (2, "near")),
    ),
    "above": (
        ((3, "below"), (3, "under"), (2, "underneath"), (1, "far below")),
        ((3, "above"), (3, "over"), (2, "high over"), (1, "up above")),
    ),
    "below": (
        ((3, "above"), (3, "over"), (2, "high over"), (1, "up above")),
        ((3, "below"), (3, "under"), (2, "underneath"), (1, "far below")),
    ),
    "behind": (((4, "in front of"), (3, "partly hiding"), (3, "before")), ((4, "behind"), (3, "half hidden by"), (2, "in the back of"))),
    "front": (((4, "behind"), (3, "half hidden by"), (2, "in the back of")), ((4, "in front of"), (3, "partly hiding"), (3, "before"))),
}
_COLUMNS = {
    "left": ((3, "on the left"), (1, "at the left side")),
    "middle": ((3, "in the middle"), (1, "in the centre")),
    "right": ((3, "on the right"), (1, "at the right side")),
}
_OPENINGS = (
    (4, ""),
    (4, "we see"),
    (3, "here is"),
    (3, "you can see"),
    (2, "this shows"),
    (2, "an image of"),
    (1, "a picture of"),
    (1, "a drawing of"),
)
_ADDITIONS = ((5, "and"), (3, "with"), (1, "along with"), (1, "together with"))
_BRIEF_ENDS = ((5, "among other things"), (3, "and some other things"), (2, "with a few more"))
_FORMS = ((8, "brief"), (10, "place_first"), (10, "acting"), (4, "turned"), (11, "placed"), (12, "related"), (17, "joined"), (8, "all"))


def write_captions(scene: Scene, count: int, draws: Draws) -> list[str]:
    """Write several different captions.

    Args:
        scene: what is seen.
        count: how many.
        draws: for the writers' choices.
    """
    captions: list[str] = []
    while len(captions) < count:
        caption = write_caption(scene, draws)
        if caption not in captions:
            captions.append(caption)
    return captions


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
    where = draws.weighted(_PLACES[scene.background])
    if form == "brief":
        bare = _phrase(first, draws, size=0.1, texture=0.1, colour=0.4)
        return f"there {'is' if first.count == 1 else 'are'} {bare} {draws.weighted(_BRIEF_ENDS)}{_sometimes(where, 0.5, draws)}"
    main = _phrase(first, draws, size=0.4, texture=0.6)
    side = _phrase(second, draws, size=0.2, texture=0.3)
    from_second, from_first = _RELATIONS[scene.relation]
    if form == "place_first":
        rest = _link(from_second, draws) + f" {side}" if draws.chance(0.75) else draws.weighted(_COLUMNS[first.column])
        return f"{where} {_verb(first, draws)} {main} {rest}"
    if form == "acting":
        column = _sometimes(draws.weighted(_COLUMNS[first.column]), 0.3, draws)
        rest = _sometimes(f"{_link(from_second, draws)} {side}", 0.6, draws)
        return f"{main} {_verb(first, draws)}{column} {where}{rest}"
    if form == "turned":
        return f"{side} {_verb(second, draws)} {draws.weighted(from_first)} {main}{_sometimes(where, 0.6, draws)}"
    return f"{draws.weighted(_OPENINGS)} {_listing(form, scene, main, side, where, draws)}".strip()


def _listing(form: str, scene: Scene, main: str, side: str, where: str, draws: Draws) -> str:
    """Name the things without a verb, so that an opening may come before."""
    others = scene.things[2:]
    from_second, _ = _RELATIONS[scene.relation]
    if form == "placed":
        return f"{main} {where} {_link(from_second, draws)} {side}"
    if form == "related":
        return f"{main} {draws.weighted(from_second)} {side}{_sometimes(where, 0.7, draws)}"
    if form == "joined" or not others:
        return f"{main} {draws.weighted(_ADDITIONS)} {side}{_sometimes(where, 0.85, draws)}"
    third = _phrase(draws.pick(others), draws, size=0.25, texture=0.0)
    return f"{main}, {side} and {third}{_sometimes(where, 0.6, draws)}"


def _phrase(thing: Thing, draws: Draws, *, size: float, texture: float, colour: float = 0.93) -> str:
    """Name a thing: count, size, texture, colour and noun, some of it left out."""
    words = []
    if thing.size != "medium" and draws.chance(size):
        words.append(draws.weighted(_SIZES[thing.size]))
    behind = ""
    if thing.texture != "plain" and draws.chance(texture):
        before, behind = draws.weighted([(weight, (before, after)) for weight, before, after in _TEXTURES[thing.texture]])
        words += [before] if before else []
    if draws.chance(colour):
        words.append(draws.weighted(_COLOURS[thing.colour]))
    noun = draws.weighted([(weight, names) for weight, *names in _NOUNS[thing.shape]])
    words.append(noun[0] if thing.count == 1 else noun[1])
    words += [behind] if behind else []
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article if thing.count == 1 else draws.weighted(_COUNTS[thing.count]), *words])


def _verb(thing: Thing, draws: Draws) -> str:
    forms = _IN_AIR if thing.in_air else _ON_GROUND
    singular, plural = draws.weighted([(weight, (one, many)) for weight, one, many in forms])
    return singular if thing.count == 1 else plural


def _link(wordings: tuple[tuple[int, str], ...], draws: Draws) -> str:
    """Join a second thing to the first: by where it is, or by a mere "and"."""
    return draws.weighted(_ADDITIONS if draws.chance(0.5) else wordings)


def _sometimes(words: str, probability: float, draws: Draws) -> str:
    return f" {words}" if draws.chance(probability) else ""
