from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.tasks.attention.drawing import CELL_SIZE, RIGHT, WRONG, draw_looks, step_colours
from seqrl.tasks.attention.looks import Look
from seqrl.tasks.attention.retina import Retina

DIGITS = [str(digit) for digit in range(10)]
GREY = 128


def make_look(
    locations=((0.0, 0.0),), *, scales: int = 1, size: int = 8, shape=(28, 28), truth=None, labels=(7,), second: int = 3, grey: int = GREY
) -> Look:
    """A uniform image, glimpses of which scale k has the grey level 51 (k + 1), and what truth leaves goes to a second class."""
    steps = len(locations)
    truth = np.linspace(0.2, 0.9, steps) if truth is None else np.array(truth)
    probabilities = np.zeros((steps, len(labels), 10), dtype=np.float32)
    for place, label in enumerate(labels):
        probabilities[:, place, label] = truth
        probabilities[:, place, second] = 1 - truth
    levels = np.arange(1, scales + 1, dtype=np.float32)[None, :, None, None] / 5
    return Look(
        image=np.full(shape, grey, dtype=np.uint8),
        locations=np.array(locations, dtype=np.float32),
        glimpses=np.broadcast_to(levels, (steps, scales, size, size)),
        probabilities=probabilities,
        labels=np.array(labels),
    )


def draw(looks: list[Look], directory: Path, names=DIGITS) -> tuple[np.ndarray, list[np.ndarray]]:
    """The PNG and the GIF's frames, [H, W, 3]."""
    picture, animation = draw_looks(looks, names, directory)
    with Image.open(picture) as table, Image.open(animation) as frames:
        return np.asarray(table.convert("RGB")), [seek(frames, step) for step in range(frames.n_frames)]


def seek(frames: Image.Image, step: int) -> np.ndarray:
    frames.seek(step)
    return np.asarray(frames.convert("RGB"))


def where(pixels: np.ndarray, colour: str) -> np.ndarray:
    return (pixels == [int(colour[place : place + 2], 16) for place in (1, 3, 5)]).all(axis=2)


def longest_run(row: np.ndarray) -> int:
    return max(len(run) for run in "".join("x" if here else " " for here in row).split(" "))


def image_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the uniform grey image; text has grey pixels too, but never so many in a line."""
    grey = (np.abs(pixels.astype(int) - GREY) <= 3).all(axis=2)
    rows, columns = np.flatnonzero(grey.sum(axis=1) > 40), np.flatnonzero(grey.sum(axis=0) > 40)
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_two_files_and_a_frame_for_each_glimpse(tmp_path) -> None:
    looks = [make_look([(-0.5, 0.5), (0.1, 0.2), (0.9, -0.9)])] * 5
    files = draw_looks(looks, DIGITS, tmp_path / "new" / "samples")
    assert [path.name for path in files] == ["glimpses.png", "glimpses.gif"]
    durations = []
    with Image.open(files[1]) as frames:
        assert frames.n_frames == 3
        assert frames.info["loop"] == 0
        for step in range(3):
            frames.seek(step)
            durations.append(frames.info["duration"])
    assert durations == [700, 700, 2000]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in draw_looks(looks, DIGITS, files[0].parent)] == before
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["glimpses.gif", "glimpses.png"]


@pytest.mark.parametrize(("shape", "x", "y"), [((28, 28), 17, 3), ((28, 48), 32, 3), ((48, 28), 17, 8)])
def test_the_outline_is_where_the_location_says(tmp_path, shape, x: int, y: int) -> None:
    """The centre (0.5, -0.5) of an image 28 high and 48 wide is (36, 7), so 8 pixels begin at (32, 3)."""
    _, (frame,) = draw([make_look([(0.5, -0.5)], shape=shape)], tmp_path)
    left, top, right, bottom = image_box(frame)
    zoom = (right - left) // shape[1]
    assert (right - left, bottom - top) == (shape[1] * zoom, shape[0] * zoom)
    scene = frame[top:bottom, left:right]
    here = where(scene, step_colours(1)[0])
    columns, rows = np.flatnonzero(here.any(axis=0)), np.flatnonzero(here.any(axis=1))
    assert (columns[0], columns[-1] + 1) == (x * zoom, (x + 8) * zoom)
    assert (rows[0], rows[-1] + 1) == (y * zoom, (y + 8) * zoom)
    scene = scene.copy()
    scene[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = GREY
    assert np.ptp(scene.astype(int)) <= 3  # and nothing of it is elsewhere


@pytest.mark.parametrize("scales", [1, 3, 4])
def test_an_outline_for_each_scale(tmp_path, scales: int) -> None:
    """The centre (0.25, -0.5) of 64x64 is (40, 16); scale k reaches 2^(k + 1) pixels to each side, the coarsest at most to the edge."""
    _, (frame,) = draw([make_look([(0.25, -0.5)], scales=scales, size=4, shape=(64, 64))], tmp_path)
    left, top, right, _ = image_box(frame)
    zoom = (right - left) // 64
    here = where(frame, step_colours(1)[0])
    for scale in range(scales):
        x, y = left + zoom * (40 - 2 ** (scale + 1)), top + zoom * (16 + 2 ** (scale + 1)) - 1
        assert here[top + 16 * zoom - 6, x] and not here[top + 16 * zoom - 6, x - 1]
        assert here[y, left + 40 * zoom - 6] and not here[y + 1, left + 40 * zoom - 6]


def test_the_outline_holds_what_the_retina_saw(tmp_path) -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (28, 28), dtype=np.uint8)
    left, top, right, _ = image_box(draw([make_look()], tmp_path)[1][0])
    zoom = (right - left) // 28
    for place in generator.uniform(-1, 1, (8, 2)).astype(np.float32):
        glimpse = Retina(8).cut(torch.from_numpy(image)[None], torch.from_numpy(place)[None]).view(1, 1, 8, 8).numpy()
        _, (frame,) = draw([replace(make_look([place]), image=image, glimpses=glimpse)], tmp_path)
        here = where(frame, step_colours(1)[0])
        here = here[top - 4 * zoom : top + 32 * zoom, left - 4 * zoom : left + 32 * zoom]  # with the margin, half a glimpse
        x, y = np.flatnonzero(here.any(axis=0))[0] / zoom, np.flatnonzero(here.any(axis=1))[0] / zoom
        padded = np.pad(image, 4)
        np.testing.assert_allclose(padded[int(y) : int(y) + 8, int(x) : int(x) + 8] / 255, glimpse[0, 0], atol=1e-6)


def test_the_path_grows(tmp_path) -> None:
    """A point a quarter of the way between the first two glimpses is on the path from the second frame on."""
    _, frames = draw([make_look([(-0.75, -0.75), (0.25, 0.75), (0.75, -0.75)])], tmp_path)
    left, top, right, _ = image_box(frames[0])
    side = right - left
    x, y = left + round(side * (0.125 + 0.5 / 4)), top + round(side * (0.125 + 0.75 / 4))
    near = [where(frame, step_colours(3)[1])[y - 1 : y + 2, x - 1 : x + 2].any() for frame in frames]
    assert near == [False, True, True]


@pytest.mark.parametrize("scales", [1, 3, 4])
def test_a_cell_for_each_image_and_glimpse_with_every_scale(tmp_path, scales: int) -> None:
    table, _ = draw([make_look([(0.0, 0.0), (0.5, 0.5)], scales=scales, grey=0)] * 3, tmp_path)
    for colour in step_colours(2):
        rows = [row for row in where(table, colour) if row.any() and longest_run(row) == CELL_SIZE]
        assert len(rows) == 3 * 2 * 4  # above and below, four pixels thick
    areas = [(table == 51 * (scale + 1)).all(axis=2).sum() / 6 for scale in range(scales)]
    assert areas[0] > 0.85 * CELL_SIZE**2
    for area in areas[1:]:
        assert area >= (CELL_SIZE / (scales - 1) - 8) ** 2


def test_bars_are_as_long_as_the_probabilities(tmp_path) -> None:
    _, frames = draw([make_look([(0.0, 0.0)] * 3, truth=[0.25, 0.5, 1.0])], tmp_path)
    right = [max(longest_run(row) for row in where(frame, RIGHT)) for frame in frames]
    assert right[2] > 30
    assert abs(right[1] - right[2] / 2) <= 1
    assert abs(right[0] - right[2] / 4) <= 1
    wrong = [where(frame, WRONG).sum() for frame in frames]
    assert wrong[0] > 0  # three quarters for another class
    assert wrong[2] == 0


def test_two_objects_have_bars_of_their_own_and_both_must_be_right(tmp_path) -> None:
    look = make_look([(0.0, 0.0)], truth=[1.0], labels=(7, 2))
    _, (frame,) = draw([look], tmp_path)
    longest = max(longest_run(row) for row in where(frame, RIGHT))
    rows = np.flatnonzero([longest_run(row) == longest for row in where(frame, RIGHT)])
    assert (np.diff(rows) > 1).sum() == 1
    assert not where(frame, WRONG).any()
    half = replace(look, probabilities=np.roll(look.probabilities, 1, axis=2) * [[[0], [1]]] + look.probabilities * [[[1], [0]]])
    _, (frame,) = draw([half], tmp_path)
    assert where(frame, WRONG).any()


def test_glimpses_at_one_place_keep_their_numbers_apart(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table, _ = draw([make_look([(-1.0, -1.0)] * 8), make_look([(0.3, 0.3)] * 8)], tmp_path)
        draw([make_look([(-1.0, -1.0)] * 12, size=1)], tmp_path)  # where they are pushed into the corner
    scenes = table[:, : table.shape[1] - 8 * CELL_SIZE - 9 * 16]
    for colour in step_colours(8):
        assert where(scenes, colour).sum() > 2 * 50


def test_many_looks_long_names_and_odd_images(tmp_path) -> None:
    names = ["a class with a name that is far too long to be written out", *DIGITS[1:]]
    wide = make_look([(0.9, -0.9), (-1.0, 1.0)], shape=(40, 200), size=6, scales=2, labels=(0,))
    table, frames = draw([wide] * 6, tmp_path, names)
    assert len(frames) == 2
    assert table.shape[1] < 900
    assert frames[0].shape[1] < 900  # three of them in each of two lines
    large, _ = draw([make_look(shape=(600, 600), size=64, scales=3)], tmp_path)
    assert large.shape[1] < 500


def test_nothing_to_draw(tmp_path) -> None:
    with pytest.raises(ValueError, match="expected at least one look to draw, got none"):
        draw_looks([], DIGITS, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numbers_that_are_not_finite(tmp_path) -> None:
    look = make_look()
    with pytest.raises(ValueError, match="expected at least one look to draw, got numbers that are not finite"):
        draw_looks([look, replace(look, probabilities=look.probabilities * np.nan)], DIGITS, tmp_path / "new")
    assert not (tmp_path / "new").exists()
