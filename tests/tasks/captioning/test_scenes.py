from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.scene_captions import write_caption
from seqrl.tasks.captioning.scene_drawing import draw_figures
from seqrl.tasks.captioning.scene_layout import RELATIONS, SHAPES, Draws, Scene, Thing, draw_scene, place
from seqrl.tasks.captioning.scene_words import grammar_words
from seqrl.tasks.captioning.scenes import ScenesConfig, describe_scenes, load_scenes

SMALL = ScenesConfig(num_train=60, num_dev=20, num_test=20)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_two_splits_share_a_scene() -> None:
    scenes = describe_scenes(ScenesConfig())
    assert {name: len(part) for name, part in scenes.items()} == {"train": 4000, "dev": 500, "test": 500}
    everything = [scene for part in scenes.values() for scene in part]
    assert len(set(everything)) == 5000


def test_more_training_scenes_leave_dev_and_test_as_they_are() -> None:
    few, many = describe_scenes(SMALL), describe_scenes(ScenesConfig(num_train=90, num_dev=20, num_test=20))
    assert few["dev"] == many["dev"] and few["test"] == many["test"] and few["train"] == many["train"][:60]
    drawn_few, drawn_many = load_scenes(SMALL, 16), load_scenes(ScenesConfig(num_train=90, num_dev=20, num_test=20), 16)
    for name, part in drawn_few.items():
        assert np.array_equal(part.images, drawn_many[name].images[: len(part.images)])
        assert part.captions == drawn_many[name].captions[: len(part.captions)]


def test_the_grammar_names_every_word_of_the_captions_and_no_other() -> None:
    draws = Draws(np.random.default_rng(0))
    captions = [write_caption(draw_scene(draws), draws) for _ in range(8000)]
    assert sorted({word for caption in captions for word in ptb_tokenize(caption)}) == grammar_words()


def test_the_vocabulary_is_the_same_for_any_number_of_scenes() -> None:
    few, many = (load_data(DataConfig(image_size=16, scenes=ScenesConfig(num_train=n, num_dev=2, num_test=0))) for n in (2, 40))
    assert few.vocabulary.fingerprint() == many.vocabulary.fingerprint()
    # With rare words left out the draw decides, as for every other source.
    rare = load_data(DataConfig(image_size=16, min_count=2, scenes=ScenesConfig(num_train=2, num_dev=2, num_test=0)))
    assert len(rare.vocabulary) < len(few.vocabulary)


def test_the_cache_holds_what_was_drawn(cache: Path) -> None:
    drawn = load_scenes(SMALL, 32)
    assert len(list((cache / "scenes").iterdir())) == 3
    mapped = load_scenes(SMALL, 32)
    for name, part in drawn.items():
        assert isinstance(mapped[name].images, np.memmap)
        assert np.array_equal(part.images, mapped[name].images) and part.captions == mapped[name].captions
        assert np.array_equal(part.figures, mapped[name].figures)
        assert part.images.dtype == np.uint8 and part.images.shape[1:] == (3, 32, 32)


def test_the_seed_decides_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_scenes(SMALL, 32)["train"]
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "elsewhere"))
    again = load_scenes(SMALL, 32)["train"]
    other = load_scenes(ScenesConfig(num_train=60, num_dev=20, num_test=20, seed=1), 32)["train"]
    assert np.array_equal(first.images, again.images) and first.captions == again.captions
    assert not np.array_equal(first.images, other.images) and first.captions != other.captions


@pytest.mark.parametrize("ending", ["[0-9a-f].npy", ".figures.npy", ".json"])
def test_a_damaged_cache_is_drawn_again(ending: str, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = load_scenes(SMALL, 32)
    for content in (b"", b"[1]"):
        (path,) = (cache / "scenes").glob(f"*{ending}")
        path.write_bytes(content)
        again = load_scenes(SMALL, 32)
        assert "drawn again" in caplog.text and np.array_equal(first["train"].images, again["train"].images)
        assert first["dev"].captions == again["dev"].captions
        caplog.clear()
    load_scenes(SMALL, 32)
    assert "drawn again" not in caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "occupied"))
    assert len(load_scenes(SMALL, 32)["train"].captions) == 60


def test_captions_differ_in_words_length_and_detail() -> None:
    captions = [texts for part in load_scenes(ScenesConfig(num_train=600, num_dev=1, num_test=0), 16).values() for texts in part.captions]
    assert all(len(set(texts)) == 5 for texts in captions)
    words = [text.rstrip(".").replace(",", "").lower().split() for texts in captions for text in texts]
    lengths = Counter(map(len, words))
    assert min(lengths) == 8 and max(lengths) <= 18 and len(lengths) >= 10
    assert 120 <= len({word for caption in words for word in caption}) <= 160


def test_the_prominent_thing_is_mentioned_more_often_than_the_others() -> None:
    draws = Draws(np.random.default_rng(0))
    things = [
        Thing("star", colour, "medium", "plain", 1, column, False)
        for colour, column in (("red", "middle"), ("blue", "left"), ("green", "right"))
    ]
    scene = Scene("snow", tuple(things), "left")
    captions = [write_caption(scene, draws) for _ in range(600)]
    shares = [sum(colour in caption for caption in captions) / 600 for colour in ("red", "blue", "green")]
    assert shares[0] > shares[1] + 0.05 and shares[1] > shares[2] + 0.1 and shares[2] > 0.01


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_hold_in_the_picture_and_in_the_words(relation: str) -> None:
    draws = Draws(np.random.default_rng(1))
    scenes = [scene for scene in (draw_scene(draws) for _ in range(400)) if scene.relation == relation]
    assert len(scenes) > 30
    for scene in scenes:
        figures = place(scene, draws)
        first, second = ([figure for figure in figures if figure.thing == thing] for thing in scene.things[:2])
        x = [np.mean([figure.x for figure in group]) for group in (first, second)]
        y = [np.mean([figure.y for figure in group]) for group in (first, second)]
        behind = figures.index(second[0]) < figures.index(first[0])
        held = {
            "left": x[1] < x[0],
            "right": x[1] > x[0],
            "above": y[1] < y[0],
            "below": y[1] > y[0],
            "behind": behind,
            "front": not behind,
        }
        assert held[relation]


def test_left_and_right_are_said_the_right_way_round() -> None:
    things = (Thing("star", "red", "medium", "plain", 1, "middle", False), Thing("heart", "blue", "small", "plain", 1, "left", False))
    draws = Draws(np.random.default_rng(2))
    captions = [write_caption(Scene("snow", things, "left"), draws) for _ in range(800)]
    placed = [caption.lower() for caption in captions if "to the right of" in caption or "to the left of" in caption]
    assert len(placed) > 40
    for caption in placed:
        star_first = caption.index("star") < caption.index("heart")
        assert ("to the right of" in caption) == star_first


@pytest.mark.parametrize("shape", SHAPES)
def test_a_figure_is_drawn_in_its_colour(shape: str) -> None:
    draws = Draws(np.random.default_rng(0))
    bare = Scene("snow", (), "left")
    things = tuple(Thing(shape, colour, "large", "plain", 1, "middle", False) for colour in ("red", "red"))
    empty, full = draw_empty(bare, draws), draw_figures(Scene("snow", things, "left"), 64, Draws(np.random.default_rng(0)))[0]
    red = (full[0].astype(int) - full[1] > 80) & (full[0].astype(int) - full[2] > 80)
    assert red.sum() > 80 and not (empty[0].astype(int) - empty[1] > 80).any()


def draw_empty(scene: Scene, draws: Draws) -> np.ndarray:
    thing = Thing("ring", "white", "small", "plain", 1, "left", True)
    return draw_figures(Scene(scene.background, (thing, thing), "left"), 64, draws)[0]


@pytest.mark.parametrize("change", [{"num_train": 0}, {"num_dev": 0}, {"num_test": -1}])
def test_strange_numbers_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        describe_scenes(ScenesConfig(**change))
