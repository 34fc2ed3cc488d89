"""The words for what a drawn scene holds: the captions are written with them, and read back."""

from __future__ import annotations

from collections.abc import Iterator

# (weight, singular, plural)
NOUNS = {
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
COLOUR_WORDS = {
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
SIZE_WORDS = {"small": ((5, "small"), (3, "little"), (2, "tiny")), "large": ((4, "big"), (4, "large"), (2, "huge"))}
TEXTURE_WORDS = {
    "striped": ((4, "striped", ""), (3, "", "with stripes")),
    "dotted": ((3, "spotted", ""), (3, "dotted", ""), (3, "", "with dots")),
    "chequered": ((4, "chequered", ""), (3, "", "with squares"), (2, "patterned", "")),
}
COUNT_WORDS = {
    2: ((6, "two"), (2, "a pair of"), (1, "a couple of")),
    3: ((7, "three"), (1, "a few"), (1, "a group of")),
    4: ((6, "four"), (2, "several"), (1, "a group of")),
}
PLACE_WORDS = {
    "meadow": ((4, "on the grass"), (3, "in a green field"), (3, "in a meadow"), (1, "under a blue sky")),
    "beach": ((5, "on the beach"), (3, "on the sand"), (2, "by the sea"), (1, "near the water")),
    "night": ((4, "at night"), (3, "under the night sky"), (2, "in the dark"), (2, "under the stars")),
    "table": ((5, "on a wooden table"), (3, "on the table"), (2, "on a desk"), (1, "in front of a wall")),
    "snow": ((5, "in the snow"), (3, "on the snow"), (2, "in front of the mountains"), (1, "on a white field"), (1, "in winter")),
    "street": ((4, "on the street"), (3, "in the city"), (2, "on the road"), (2, "in front of tall buildings")),
}
ON_GROUND = ((8, "sits", "sit"), (4, "lies", "lie"), (4, "stands", "stand"), (3, "is", "are"), (2, "rests", "rest"))
IN_AIR = ((8, "floats", "float"), (4, "hangs", "hang"), (4, "is", "are"))
RELATION_WORDS = {
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
COLUMN_WORDS = {
    "left": ((3, "on the left"), (1, "at the left side")),
    "middle": ((3, "in the middle"), (1, "in the centre")),
    "right": ((3, "on the right"), (1, "at the right side")),
}
OPENINGS = (
    (4, ""),
    (4, "we see"),
    (3, "here is"),
    (3, "you can see"),
    (2, "this shows"),
    (2, "an image of"),
    (1, "a picture of"),
    (1, "a drawing of"),
)
ADDITIONS = ((5, "and"), (3, "with"), (1, "along with"), (1, "together with"))
BRIEF_ENDS = ((5, "among other things"), (3, "and some other things"), (2, "with a few more"))


def grammar_words() -> list[str]:
    """Give every word that a caption can hold, tokenised, in alphabetical order: the same for any number of scenes."""
    tables = (NOUNS, COLOUR_WORDS, SIZE_WORDS, TEXTURE_WORDS, COUNT_WORDS, PLACE_WORDS, ON_GROUND, IN_AIR, RELATION_WORDS, COLUMN_WORDS)
    joints = (OPENINGS, ADDITIONS, BRIEF_ENDS, ("a", "an", "there is", "there are", "and"))
    return sorted({word for text in _texts((tables, joints)) for word in text.split()})


def _texts(table: object) -> Iterator[str]:
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict):
        yield from _texts(tuple(table.values()))
    elif isinstance(table, tuple):
        for part in table:
            yield from _texts(part)
