from __future__ import annotations

import numpy as np
import pytest

from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.evaluation import score_captions
from seqrl.tasks.captioning.facts import FIGURES, Facts, _candidates, _matches, check_caption, fact_metrics
from seqrl.tasks.captioning.scene_captions import write_caption
from seqrl.tasks.captioning.scene_layout import RELATIONS, Draws, Scene, Thing, draw_scene
from seqrl.tasks.captioning.scene_reading import KINDS, read_caption
from seqrl.tasks.captioning.scenes import ScenesConfig

# A large striped red ball in the middle; two blue stars to its right on the ground; a small yellow moon floating at the left.
SCENE = Scene(
    "beach",
    (
        Thing("ball", "red", "large", "striped", 1, "middle", False),
        Thing("star", "blue", "medium", "plain", 2, "right", False),
        Thing("moon", "yellow", "small", "plain", 1, "left", True),
    ),
    "right",
)
# 3 shapes, 3 colours, 3 counts; large, striped and small; one relation; the beach and the middle.
IN_SCENE = {"shapes": 3, "colours": 3, "counts": 3, "looks": 3, "relations": 1, "places": 2}


def check(caption: str, scene: Scene = SCENE) -> Facts:
    return check_caption(ptb_tokenize(caption), scene)


# (caption, what it says, what of it is right), in the order of KINDS, counted by hand.
BY_HAND = [
    ("A red ball sits on the beach.", (1, 1, 1, 0, 0, 1), (1, 1, 1, 0, 0, 1)),
    ("A blue ball sits on the beach.", (1, 1, 1, 0, 0, 1), (1, 0, 1, 0, 0, 1)),
    ("A red square lies in the snow.", (1, 1, 1, 0, 0, 1), (0, 1, 0, 0, 0, 0)),
    ("We see two blue stars and a yellow crescent by the sea.", (2, 2, 2, 0, 0, 1), (2, 2, 2, 0, 0, 1)),
    ("We see three blue stars on the sand.", (1, 1, 1, 0, 0, 1), (1, 1, 0, 0, 0, 1)),
    ("A blue star hangs at night.", (1, 1, 1, 0, 0, 1), (1, 1, 0, 0, 0, 0)),
    # Colours belong to things: both are in the picture, but not so.
    ("A yellow ball and a red moon.", (2, 2, 2, 0, 0, 0), (2, 0, 2, 0, 0, 0)),
    ("A big red ball with stripes to the left of a pair of blue stars.", (2, 2, 2, 2, 1, 0), (2, 2, 2, 2, 1, 0)),
    ("A small red ball to the right of a couple of blue stars.", (2, 2, 2, 1, 1, 0), (2, 2, 2, 0, 0, 0)),
    ("Two blue stars are next to a spotted ball on the left.", (2, 1, 2, 1, 1, 1), (2, 1, 2, 0, 1, 0)),
    # Another column than the moon's, so it is not above.
    ("A tiny moon above a ball in the middle.", (2, 0, 2, 1, 1, 1), (2, 0, 2, 1, 0, 1)),
    ("A moon to the left of a red ball.", (2, 1, 2, 0, 1, 0), (2, 1, 2, 0, 1, 0)),
    # The second mention of one thing is wrong: there is one ball.
    ("A red ball and a red ball near the water.", (2, 2, 2, 0, 0, 1), (1, 1, 1, 0, 0, 1)),
    ("There are stars with a few more in front of tall buildings.", (1, 0, 0, 0, 0, 1), (1, 0, 0, 0, 0, 0)),
    # A relation to something that is not there.
    ("A red ball in front of a green heart.", (2, 2, 2, 0, 1, 0), (1, 1, 1, 0, 0, 0)),
    # "stars" and "dark" of a place name no thing and no colour.
    ("In the dark stands a huge circle under the stars.", (1, 0, 1, 1, 0, 1), (1, 0, 1, 1, 0, 0)),
    ("", (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)),
    ("of the the and with", (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("caption", "said", "right"), BY_HAND)
def test_facts_counted_by_hand(caption: str, said: tuple[int, ...], right: tuple[int, ...]) -> None:
    facts = check(caption)
    assert tuple(facts.said[kind] for kind in KINDS) == said
    assert tuple(facts.right[kind] for kind in KINDS) == right
    assert facts.objects == said[0]
    assert {kind: facts.right[kind] + facts.left_out[kind] for kind in KINDS} == IN_SCENE


@pytest.mark.parametrize(
    "hiding", ["A ball behind a star", "A ball half hidden by a star", "A star in front of a ball", "A star before a ball"]
)
def test_only_what_is_behind_is_behind(hiding: str) -> None:
    ball, star = (Thing(shape, "red", "medium", "plain", 1, "middle", False) for shape in ("ball", "star"))
    assert check(hiding, Scene("snow", (star, ball), "behind")).right["relations"] == 1
    assert check(hiding, Scene("snow", (ball, star), "front")).right["relations"] == 1
    assert check(hiding, Scene("snow", (ball, star), "behind")).right["relations"] == 0
    assert check(hiding, Scene("snow", (ball, star), "left")).right["relations"] == 0


def test_the_writers_of_the_scenes_are_always_right() -> None:
    draws = Draws(np.random.default_rng(5))
    relations = set()
    for _ in range(600):
        scene = draw_scene(draws)
        caption = write_caption(scene, draws)
        facts = check(caption, scene)
        assert facts.said == facts.right, (caption, scene)
        assert facts.said["shapes"] >= 1
        relations |= {scene.relation} if facts.said["relations"] else set()
    assert relations == set(RELATIONS)


def test_a_caption_of_another_scene_is_mostly_wrong() -> None:
    draws = Draws(np.random.default_rng(6))
    scenes = [draw_scene(draws) for _ in range(200)]
    words = [ptb_tokenize(write_caption(scene, draws)) for scene in scenes]
    values = fact_metrics(words, scenes[1:] + scenes[:1])
    assert sorted(values) == sorted(FIGURES)
    # With 9 shapes and 2 to 4 things a shape is there by chance in about a third of the cases, a background in a sixth.
    assert values["shapes_right"] < 0.45 and values["colours_right"] < 0.45 and values["relations_right"] < 0.1


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("A red ball sits on the beach.", []),
        ("A *blue* ball sits *in the snow*.", ["blue", "in", "the", "snow"]),
        ("Two red *squares* stand near the water.", ["two", "squares"]),
        ("We see a red ball *to the right of* *three* blue stars.", ["to", "the", "right", "of", "three"]),
        ("A red ball and *a red ball*.", ["a", "red", "ball"]),
    ],
)
def test_the_words_that_are_wrong(caption: str, wrong: list[str]) -> None:
    words = ptb_tokenize(caption.replace("*", ""))
    assert [words[place] for place in sorted(check_caption(words, SCENE).wrong_words)] == wrong


def test_templates_have_slots() -> None:
    templates = [
        read_caption(ptb_tokenize(text)).template
        for text in ("We see a red ball next to two dotted stars at night.", "On the sand is a moon.")
    ]
    assert templates == ["we see THING RELATION THING PLACE", "PLACE is THING"]


def test_metrics_by_hand() -> None:
    captions = ["A red ball on the beach.", "A blue moon on the beach.", "We see two stars and a square."]
    values = fact_metrics([ptb_tokenize(caption) for caption in captions], [SCENE] * 3)
    expected = {
        "facts_said": (4 + 4 + 4) / 3,
        "facts_right": (4 + 3 + 2) / 3,  # the moon is not blue, and there is no square
        "facts_left_out": 15 - (4 + 3 + 2) / 3,
        "facts_right_share": 9 / 12,
        "objects_said": 4 / 3,
        "shapes_right": 3 / 4,
        "colours_right": 1 / 2,
        "counts_right": 3 / 4,
        "looks_right": 0.0,
        "relations_right": 0.0,
        "places_right": 2 / 2,
        "openings": 2.0,
        "templates": 2.0,
        "top_opening": 2 / 3,
        "top_template": 2 / 3,
    }
    assert values == pytest.approx(expected)
    with pytest.raises(ValueError, match="one for each of the 2 scenes, got 1"):
        fact_metrics([["a"]], [SCENE, SCENE])


def test_scenes_are_evaluated_with_facts(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    split = load_data(DataConfig(image_size=16, scenes=ScenesConfig(num_train=2, num_dev=6, num_test=0), max_images=4)).dev
    values = score_captions([(references[0], True) for references in split.words], split)
    assert len(split) == 4 and values["facts_right_share"] == 1.0 and values["objects_said"] >= 1


def test_a_caption_of_many_things_is_read_in_no_time() -> None:
    """Twenty nouns have 7,221 matches to three things, hundreds of captions a batch: an untrained captioner writes such."""
    facts = check("a red ball " * 10 + "a green heart " * 10)
    assert (facts.said["shapes"], facts.right["shapes"], facts.right["colours"], facts.right["counts"]) == (20, 1, 1, 1)
    assert len(list(_matches([_candidates(read_caption(["heart"] * 20), SCENE, noun) for noun in range(20)]))) == 1
