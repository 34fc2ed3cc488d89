"""Axons: their splines, distances by brute force, brightness profiles by hand, gaps where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from seqrl.tasks.tracking.axons import (
    CLEAR_PX,
    LARGEST_BEND,
    NUM_PLACES,
    PIECES,
    distance_to_pieces,
    draw_axons,
    others_clear_of,
    profile,
    spline,
    walk,
)

PLAIN = {"num_others": 0, "num_gaps": 0, "gap_px": 4.0, "noise": 0.0}


def straight(row: float, size: int = 40) -> np.ndarray:
    return np.stack([np.linspace(4, size - 5, NUM_PLACES), np.full(NUM_PLACES, row)], axis=-1)[None]


def test_a_spline_passes_through_its_places_and_is_straight_where_they_are() -> None:
    places = np.random.default_rng(0).uniform(0, 50, (3, 5, 2))
    curve = spline(places)
    assert curve.shape == (3, 4 * PIECES + 1, 2)
    np.testing.assert_allclose(curve[:, ::PIECES], places, atol=1e-12)
    line = spline(np.array([[[0.0, 1.0], [2.0, 2.0], [4.0, 3.0]]]))[0]
    np.testing.assert_allclose(line[:, 1], 1 + line[:, 0] / 2, atol=1e-12)
    assert (np.diff(line[:, 0]) > 0).all()


def test_the_middle_of_a_span_by_hand() -> None:
    """Catmull-Rom at t = 1/2 weighs the four places by -1, 9, 9, -1 sixteenths."""
    places = np.array([[[0.0, 0.0], [8.0, 0.0], [16.0, 8.0], [16.0, 24.0]]])
    assert spline(places)[0, PIECES + PIECES // 2].tolist() == [(9 * 8 + 9 * 16 - 16) / 16, (9 * 8 - 24) / 16]


def test_distances_to_a_spline_by_brute_force() -> None:
    """Against thousands of points of the same curve as Bezier curves, by de Casteljau's halving of lines."""
    random = np.random.default_rng(1)
    places = walk(random, 1, 64)[0]
    p0, p1, p2, p3 = (np.concatenate([2 * places[:1] - places[1:2], places, 2 * places[-1:] - places[-2:-1]])[i : i + 9] for i in range(4))
    bezier = np.stack([p1, p1 + (p2 - p0) / 6, p2 - (p3 - p1) / 6, p2])[:, :, None]
    t = np.linspace(0, 1, 400)[:, None]
    while len(bezier) > 1:
        bezier = (1 - t) * bezier[:-1] + t * bezier[1:]
    points = random.uniform(0, 63, (200, 2))
    expected = np.linalg.norm(points[:, None] - bezier.reshape(-1, 2), axis=-1).min(axis=1)
    line = spline(places[None])[0]
    found = distance_to_pieces(points[:, None], line[:-1], line[1:]).min(axis=1)
    np.testing.assert_allclose(found, expected, atol=0.03)  # chords instead of arcs


def test_distances_to_a_piece_by_hand() -> None:
    points = np.array([[2.0, 3.0], [-3.0, 4.0], [9.0, 0.0], [5.0, 0.0]])
    assert distance_to_pieces(points, np.zeros(2), np.array([5.0, 0.0])).tolist() == [3.0, 5.0, 4.0, 0.0]
    assert distance_to_pieces(points[1], np.ones(2), np.ones(2)) == 5.0  # a piece of length 0


def test_the_brightness_across_a_line_is_a_gaussian() -> None:
    image = profile(straight(20.0), 40, 1.5)[0]
    middle = image[:, 20]
    for distance in range(5):
        bright = np.exp(-(distance**2) / (2 * 1.5**2)) if distance <= 3 else 0.0
        assert middle[20 + distance] == middle[20 - distance] == pytest.approx(bright, abs=1e-6)
    assert (middle[:17] == 0).all() and (middle[24:] == 0).all()
    between = profile(straight(20.25), 40, 1.5)[0][:, 20]
    assert between[20] == pytest.approx(np.exp(-(0.25**2) / 4.5)) and between[21] == pytest.approx(np.exp(-(0.75**2) / 4.5))
    assert image[20, 2] == pytest.approx(np.exp(-4 / 4.5))  # round ends: two pixels before the first place


def test_walks_turn_by_little_and_stay_inside() -> None:
    places = walk(np.random.default_rng(0), 500, 64)
    steps = np.diff(places, axis=1)
    heading = np.arctan2(steps[..., 1], steps[..., 0])
    turn = np.abs((np.diff(heading, axis=1) + np.pi) % (2 * np.pi) - np.pi)
    assert turn.max() <= LARGEST_BEND + 1e-9
    assert places.min() >= 3 and places.max() <= 60
    assert places.std(axis=0).min() > 8  # they are everywhere


def test_images_hold_the_axon_its_gaps_the_others_and_noise() -> None:
    def drawn(**others: float) -> tuple[np.ndarray, np.ndarray]:
        return draw_axons(np.random.default_rng(0), 20, 64, **PLAIN | others)  # type: ignore[arg-type]

    line, image = drawn()
    assert image.dtype == np.float32 and image.shape == (20, 64, 64)
    brightest = image.max(axis=(1, 2))
    assert (brightest > 0.45).all() and (brightest <= 0.9).all()

    def along(line: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Brightness at the pixels nearest to the centre line, over the brightest."""
        x, y = np.rint(line).astype(int).transpose(2, 0, 1)
        return image[np.arange(len(image))[:, None], y, x] / image.max(axis=(1, 2), keepdims=True)[:, 0]

    assert along(line, image).min() > 0.6  # at most 0.7 pixels away, across a profile of 1.2
    dark = along(*drawn(num_gaps=1, gap_px=9.0)) < 0.3
    assert (dark.sum(axis=1) >= 3).all() and (dark.sum(axis=1) < 15).all() and not dark[:, :5].any() and not dark[:, -5:].any()
    _, crowded = drawn(num_others=2)
    assert np.median(crowded.sum(axis=(1, 2))) > 2 * np.median(image.sum(axis=(1, 2)))
    _, noisy = drawn(noise=0.1)
    background = noisy[image == 0]  # noise is drawn last, so that the axons are the same
    assert background.mean() == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.05) and noisy.min() == 0.0  # half of a Gaussian is left


def test_no_other_axon_lies_where_the_axon_begins() -> None:
    random = np.random.default_rng(0)
    line, alone = draw_axons(np.random.default_rng(1), 300, 64, **PLAIN)  # type: ignore[arg-type]
    begin = line[:, 0]
    nearest = np.linalg.norm(others_clear_of(begin, random, 3, 64) - begin[:, None, None], axis=-1).min(axis=-1)
    assert nearest.shape == (300, 3) and nearest.min() >= CLEAR_PX
    anywhere = np.linalg.norm(spline(walk(random, 300, 64)) - begin[:, None], axis=-1).min(axis=-1)
    assert (anywhere < CLEAR_PX).mean() > 0.1  # there was something to draw again

    same_line, among_others = draw_axons(np.random.default_rng(1), 300, 64, **PLAIN | {"num_others": 3})  # type: ignore[arg-type]
    assert (same_line == line).all()
    x, y = np.rint(begin).astype(int).T
    images = np.arange(300)
    for right, down in ((0, 0), (2, 0), (0, -2)):  # the others, drawn up to 3 pixels wide, do not reach here
        seen, plain = (drawn[images, y + down, x + right] for drawn in (among_others, alone))
        assert ((seen > 0) == (plain > 0)).all()


def test_the_same_seed_draws_the_same_image() -> None:
    drawn = [draw_axons(np.random.default_rng(seed), 2, 48, num_others=1, num_gaps=1, gap_px=3.0, noise=0.1) for seed in (5, 5, 6)]
    assert (drawn[0][1] == drawn[1][1]).all() and (drawn[0][1] != drawn[2][1]).any()
