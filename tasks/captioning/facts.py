"""What captions of drawn scenes get right, which no metric says: facts said, facts right and facts left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from seqrl.tasks.captioning.scene_layout import Scene
from seqrl.tasks.captioning.scene_reading import KINDS, Claim, Statement, read_caption

# What `fact_metrics` gives.
FIGURES = (
    *("facts_said", "facts_right", "facts_left_out", "facts_right_share", "objects_said", "openings", "top_opening", "templates"),
    *("top_template", *(f"{kind}_right" for kind in KINDS)),
)
_COLUMNS = ("left", "middle", "right")


@dataclass(frozen=True)
class Facts:
    """Numbers of facts of one caption, by kind; see KINDS.

    Attributes:
        said: what the caption says.
        right: of these, what is true.
        left_out: what is true of the scene and not said.
        wrong_words: positions of the words that say what is not true.
        objects: nouns of the caption.
        template: see `Statement.template`.
    """

    said: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    wrong_words: frozenset[int] = frozenset()
    objects: int = 0
    template: str = ""


def check_caption(words: Sequence[str], scene: Scene) -> Facts:
    """Hold a caption to the scene that it describes.

    A noun says a shape; with it may stand a colour, a count ("a" says one) and looks (size, texture). A relation says how two
    named things stand to each other, a place where the scene is, or in which third of the picture a thing is. Each noun is
    matched to one thing of the scene and no two nouns to the same, so that as much as possible is right: colours belong to
    things, and a second mention of a thing is wrong. Count, looks and column are right only with the right shape, of
    another thing they would often be right by chance; a relation needs the right shapes at both ends.

    A scene holds, for each thing, shape, colour and count, and size and texture where they are special; the relation of its
    first two things, the column of the first, and the background.

    Args:
        words: of the caption, as `ptb_tokenize` gives them.
        scene: what the picture shows.
    """
    statement = read_caption(words)
    matches = _matches([_candidates(statement, scene, noun) for noun in range(len(statement.shapes))])
    right = max((_right(statement, scene, match) for match in matches), key=lambda found: (len(found), _by_kind(found)["shapes"]))
    left_out = _facts_of(scene)
    left_out.subtract(_by_kind(right))
    wrong = frozenset(word for claim in statement.claims if claim not in right for word in claim.words)
    return Facts(_by_kind(statement.claims), _by_kind(right), +left_out, wrong, len(statement.shapes), statement.template)


def fact_metrics(captions: Sequence[Sequence[str]], scenes: Sequence[Scene]) -> dict[str, float]:
    """Average over captions.

    Args:
        captions: words of N captions.
        scenes: N scenes.

    Returns:
        A caption's mean `facts_said`, `facts_right`, `facts_left_out` and `objects_said`; `facts_right_share` and, of each kind, such as
        `shapes_right`, the share of what is said that is right, 0 where none is said; `openings` and `templates`, how many different
        ones there are, and `top_opening` and `top_template`, the share of the captions that have the most frequent one. An
        opening is a template up to its first thing or place.

    Raises:
        ValueError: when there is no caption, or not one a scene.
    """
    if len(captions) != len(scenes) or not captions:
        raise ValueError(f"captions: expected one for each of the {len(scenes)} scenes, got {len(captions)}")
    every = [check_caption(words, scene) for words, scene in zip(captions, scenes, strict=True)]
    said, right, left_out = (_sum(getattr(facts, name) for facts in every) for name in ("said", "right", "left_out"))
    number = len(every)
    metrics = {
        "facts_said": said.total() / number,
        "facts_right": right.total() / number,
        "facts_left_out": left_out.total() / number,
        "facts_right_share": right.total() / max(said.total(), 1),
        "objects_said": sum(facts.objects for facts in every) / number,
    }
    metrics |= {f"{kind}_right": right[kind] / max(said[kind], 1) for kind in KINDS}
    for name, found in (("opening", [_opening(facts.template) for facts in every]), ("template", [facts.template for facts in every])):
        metrics |= {f"{name}s": float(len(set(found))), f"top_{name}": Counter(found).most_common(1)[0][1] / number}
    return metrics


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


def _opening(template: str) -> str:
    words = template.split()
    ends = [index for index, word in enumerate(words) if word in ("THING", "PLACE")]
    return " ".join(words[: ends[0] + 1] if ends else words)


def _candidates(statement: Statement, scene: Scene, noun: int) -> list[int]:
    """List the things of which a noun says anything true; another one gains nothing, and twenty nouns would have too many matches."""
    colours = [claim.value for claim in statement.claims if claim.kind == "colours" and noun in claim.nouns]
    shape = statement.shapes[noun]
    return [number for number, thing in enumerate(scene.things) if thing.shape == shape or thing.colour in colours]


def _matches(candidates: Sequence[Sequence[int]], taken: frozenset[int] = frozenset()) -> Iterator[tuple[int | None, ...]]:
    """Give every way to match nouns to different ones of their candidates, or to none."""
    if not candidates:
        yield ()
        return
    for thing in (None, *(number for number in candidates[0] if number not in taken)):
        for rest in _matches(candidates[1:], taken if thing is None else taken | {thing}):
            yield (thing, *rest)


def _by_kind(claims: Iterable[Claim]) -> Counter[str]:
    return Counter(claim.kind for claim in claims)


def _right(statement: Statement, scene: Scene, match: tuple[int | None, ...]) -> list[Claim]:
    """Give the claims that are true where each noun means its thing."""
    things = [None if index is None else scene.things[index] for index in match]
    named = [thing is not None and thing.shape == shape for thing, shape in zip(things, statement.shapes, strict=True)]

    def is_true(claim: Claim) -> bool:
        if not claim.nouns:
            return claim.value == scene.background
        if claim.kind == "relations":
            return all(named[noun] for noun in claim.nouns) and _holds(scene, match[claim.nouns[0]], claim.value, match[claim.nouns[1]])
        thing = things[claim.nouns[0]]
        if thing is None or (claim.kind != "colours" and not named[claim.nouns[0]]):
            return False
        return {
            "shapes": True,
            "colours": thing.colour == claim.value,
            "counts": claim.kind == "counts" and thing.count in claim.value,
            "looks": claim.value in (thing.size, thing.texture),
            "places": thing.column == claim.value,
        }[claim.kind]

    return [claim for claim in statement.claims if is_true(claim)]


def _holds(scene: Scene, one: int | None, relation: str, other: int | None) -> bool:
    """Say whether the first thing stands so to the second.

    Left and right go by columns; beside is in the next column at the same height; above and below are in the same column. Only the first
    two things of a scene can hide each other.
    """
    assert one is not None and other is not None
    here, there = scene.things[one], scene.things[other]
    columns = _COLUMNS.index(here.column) - _COLUMNS.index(there.column)
    if relation in ("behind", "front"):
        opposite = {"behind": "front", "front": "behind"}[relation]
        return (one, other, scene.relation) in ((1, 0, relation), (0, 1, opposite))
    return {
        "left": columns < 0,
        "right": columns > 0,
        "beside": abs(columns) == 1 and here.in_air == there.in_air,
        "above": columns == 0 and here.in_air and not there.in_air,
        "below": columns == 0 and there.in_air and not here.in_air,
    }[relation]


def _facts_of(scene: Scene) -> Counter[str]:
    things = len(scene.things)
    special = sum((thing.size != "medium") + (thing.texture != "plain") for thing in scene.things)
    return Counter(shapes=things, colours=things, counts=things, looks=special, relations=1, places=2)
