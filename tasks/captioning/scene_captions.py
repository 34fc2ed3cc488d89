"""Captions of drawn scenes: each writer makes a choice of what to mention, in which order and in which words.

What is prominent is said more often than what is not, and every single choice is spread over several wordings. So the most
probable next word is often one that says little, while a caption that says what most writers agree on scores higher:
a captioner that only imitates is not yet a good one.
"""

from __future__ import annotations

from tasks.captioning.scene_layout import Draws, Scene, Thing

MIN_WORDS, MAX_WORDS = 8, 18

# (weight, singular, plural)
_NOUNS = {
    "ball": ((8, "ball", "balls"), (1, "circle", "circles"), (1, "sphere", "spheres")),
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
    "red": ((9, "red"), (1, "crimson")),
    "blue": ((1, "blue"),),
    "green": ((1, "green"),),
    "yellow": ((9, "yellow"), (1, "golden")),
    "purple": ((8, "purple"), (2, "violet")),
    "orange": ((1, "orange"),),
    "pink": ((9, "pink"), (1, "rosy")),
    "white": ((1, "white"),),
    "black": ((9, "black"), (1, "dark")),
}
_SIZES = {"small": ((5, "small"), (3, "little"), (2, "tiny")), "medium": ((1, "medium"),), "large": ((4, "big"), (4, "large"), (2, "huge"))}
_TEXTURES = {
    "striped": ((4, "striped", ""), (3, "", "with stripes"), (1, "", "with lines")),
    "dotted": ((3, "spotted", ""), (3, "dotted", ""), (3, "", "with dots"), (1, "", "with spots")),
    "chequered": ((4, "chequered", ""), (3, "", "with squares"), (2, "patterned", "")),
}
_COUNTS = {
    2: ((6, "two"), (2, "a pair of"), (1, "a couple of")),
    3: ((7, "three"), (1, "a few"), (1, "a group of")),
    4: ((6, "four"), (2, "several"), (1, "a group of")),
}
_PLACES = {
    "meadow": ((4, "on the grass"), (3, "in a green field"), (3, "in a meadow"), (1, "on the lawn"), (1, "under a blue sky")),
    "beach": ((5, "on the beach"), (3, "on the sand"), (2, "by the sea"), (1, "near the water"), (1, "at the shore")),
    "night": ((4, "at night"), (3, "under the night sky"), (2, "in the dark"), (2, "under the stars")),
    "table": ((5, "on a wooden table"), (3, "on the table"), (2, "on a desk"), (1, "in front of a wall")),
    "snow": ((5, "in the snow"), (3, "on the snow"), (2, "in front of the mountains"), (1, "on a white field"), (1, "in winter")),
    "street": ((4, "on the street"), (3, "in the city"), (2, "on the road"), (2, "in front of tall buildings"), (1, "in town at sunset")),
}
_ON_GROUND = ((8, "sits", "sit"), (4, "lies", "lie"), (4, "stands", "stand"), (3, "is", "are"), (2, "rests", "rest"))
_IN_AIR = ((8, "floats", "float"), (4, "hangs", "hang"), (4, "is", "are"), (3, "flies", "fly"))
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
_OPENINGS = ((3, "a picture of"), (2, "an image of"), (2, "a drawing of"), (1, "a scene with"), (1, "a view of"))
_ADDITIONS = ((5, "and"), (3, "with"), (1, "along with"), (1, "together with"))
_FORMS = (
    (12, "alone"),
    (28, "placed"),
    (9, "related"),
    (14, "joined"),
    (10, "there"),
    (8, "place_first"),
    (8, "picture"),
    (5, "turned"),
    (6, "all"),
)


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
    main = _phrase(first, draws, size=0.4, texture=0.6)
    side = _phrase(second, draws, size=0.12, texture=0.15)
    where = draws.weighted(_PLACES[scene.background])
    from_second, from_first = _RELATIONS[scene.relation]
    form = draws.weighted(_FORMS)
    if form == "alone":
        column = f" {draws.weighted(_COLUMNS[first.column])}" if draws.chance(0.3) else ""
        return f"{main} {_verb(first, draws)}{column} {where}"
    if form == "placed":
        return f"{main} {_verb(first, draws)} {where} {_link(from_second, draws)} {side}"
    if form == "related":
        return f"{main} {_relation(from_second, draws)} {side}{_sometimes(where, 0.7, draws)}"
    if form == "joined":
        return f"{main} {draws.weighted(_ADDITIONS)} {side}{_sometimes(where, 0.85, draws)}"
    if form == "there":
        rest = f" {_link(from_second, draws)} {side}" if draws.chance(0.75) else ""
        return f"there {'is' if first.count == 1 else 'are'} {main} {where}{rest}"
    if form == "place_first":
        rest = f"{_link(from_second, draws)} {side}" if draws.chance(0.75) else draws.weighted(_COLUMNS[first.column])
        return f"{where} {_verb(first, draws)} {main} {rest}"
    if form == "picture":
        rest = f" {draws.weighted(_ADDITIONS)} {side}" if draws.chance(0.75) else ""
        return f"{draws.weighted(_OPENINGS)} {main}{rest}{_sometimes(where, 0.75, draws)}"
    if form == "turned":
        return f"{side} {_verb(second, draws)} {_relation(from_first, draws)} {main}{_sometimes(where, 0.6, draws)}"
    if others:
        third = _phrase(draws.pick(others), draws, size=0.25, texture=0.0)
        return f"{main}, {side} and {third}{_sometimes(where, 0.6, draws)}"
    return f"we see {main} and {side} {where}"


def _phrase(thing: Thing, draws: Draws, *, size: float, texture: float) -> str:
    """Name a thing: count, size, texture, colour and noun, some of it left out."""
    words = []
    if thing.size != "medium" and draws.chance(size):
        words.append(draws.weighted(_SIZES[thing.size]))
    behind = ""
    if thing.texture != "plain" and draws.chance(texture):
        _, (before, behind) = 0, draws.weighted([(weight, (before, after)) for weight, before, after in _TEXTURES[thing.texture]])
        words += [before] if before else []
    if draws.chance(0.93):
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


def _relation(wordings: tuple[tuple[int, str], ...], draws: Draws) -> str:
    return draws.weighted(wordings)


def _link(wordings: tuple[tuple[int, str], ...], draws: Draws) -> str:
    """Join a second thing to the first: by where it is, or by a mere "and"."""
    return draws.weighted(_ADDITIONS if draws.chance(0.5) else wordings)


def _sometimes(words: str, probability: float, draws: Draws) -> str:
    return f" {words}" if draws.chance(probability) else ""
