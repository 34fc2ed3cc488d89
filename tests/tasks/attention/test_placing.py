from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seqrl.tasks.attention.placing import Placement, resized

KINDS = ("centred", "translated", "cluttered", "pair")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct(count: int, size: int) -> Tensor:
    """Images whose every pixel is a shade that no other has, so that a pixel tells where it comes from."""
    return torch.arange(1, count * size * size + 1, dtype=torch.uint8).view(count, size, size)


def corner_of(canvas: Tensor, image: Tensor) -> tuple[int, int]:
    """The one place where an image stands on a canvas, by looking everywhere."""
    height, width = image.shape
    places = itertools.product(range(canvas.shape[0] - height + 1), range(canvas.shape[1] - width + 1))
    found = [(row, column) for row, column in places if torch.equal(canvas[row : row + height, column : column + width], image)]
    assert len(found) == 1
    return found[0]


def assert_uniform(drawn: Iterable[Any], possible: Iterable[Any]) -> None:
    """Every possible outcome comes, no other, and about equally often: chi-squared within five standard deviations."""
    counts, outcomes = Counter(drawn), set(possible)
    assert set(counts) == outcomes
    expected, freedom = sum(counts.values()) / len(outcomes), len(outcomes) - 1
    assert expected >= 8
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(("canvas_size", "corner"), [(4, 0), (5, 0), (6, 1), (9, 2)])
def test_centred(canvas_size: int, corner: int) -> None:
    images = distinct(3, 4)
    canvases, shown = Placement("centred", canvas_size, 4, 8).place(images, torch.tensor([2, 0, 2]), generator())
    assert canvases.dtype == torch.uint8 and canvases.shape == (3, canvas_size, canvas_size) and shown.tolist() == [[2], [0], [2]]
    for canvas, item in zip(canvases, (2, 0, 2), strict=True):
        expected = torch.zeros(canvas_size, canvas_size, dtype=torch.uint8)
        for row, column in itertools.product(range(4), range(4)):
            expected[corner + row, corner + column] = images[item, row, column]
        assert torch.equal(canvas, expected)


def test_translated_images_are_whole_and_stand_everywhere_alike() -> None:
    images = distinct(3, 4)
    items = torch.arange(3).repeat(300)
    canvases, shown = Placement("translated", 8, 4, 8).place(images, items, generator())
    assert shown.tolist() == [[item] for item in items.tolist()]
    corners = [corner_of(canvas, images[item]) for canvas, item in zip(canvases, items.tolist(), strict=True)]
    assert_uniform(corners, itertools.product(range(5), range(5)))
    # Nothing else is on the canvas.
    assert torch.equal(canvases.flatten(1).sum(1), images[items].flatten(1).sum(1))


def test_images_need_not_be_square() -> None:
    images = torch.arange(1, 31, dtype=torch.uint8).view(2, 3, 5)
    for kind in ("translated", "cluttered"):
        canvases, _ = Placement(kind, 6, 0, 2).place(images, torch.tensor([1] * 200), generator())  # type: ignore[arg-type]
        assert_uniform([corner_of(canvas, images[1]) for canvas in canvases], itertools.product(range(4), range(2)))
    canvases, shown = Placement("pair", 10, 4, 8).place(images, torch.tensor([1] * 20), generator())
    for canvas, row in zip(canvases, shown.tolist(), strict=True):
        assert sorted(row) == [0, 1] and canvas.sum() == images.sum()


def test_one_piece_of_clutter() -> None:
    # Black but for one image, so that the piece is seen whole wherever it falls.
    images = distinct(3, 4)
    images[0] = 0
    canvases, _ = Placement("cluttered", 6, 1, 2, "brightest").place(images, torch.zeros(1200, dtype=torch.int64), generator())
    pieces = {
        (source, row, column): images[source, row : row + 2, column : column + 2]
        for source, row, column in itertools.product((1, 2), range(3), range(3))
    }
    by_shade = {int(piece[0, 0]): key for key, piece in pieces.items()}
    cuts, corners = [], []
    for canvas in canvases:
        shade = int(canvas[canvas > 0].min())  # the top left pixel of a piece is its darkest
        cuts.append(by_shade[shade])
        corners.append(corner_of(canvas, pieces[by_shade[shade]]))
        assert (canvas > 0).sum() == 4
    assert_uniform(cuts, pieces)
    assert_uniform(corners, itertools.product(range(5), range(5)))


def test_clutter_comes_from_other_images_and_the_brighter_pixel_is_seen() -> None:
    # Image n has the shade n + 1 everywhere.
    images = torch.arange(1, 6, dtype=torch.uint8).view(5, 1, 1).expand(5, 4, 4).contiguous()
    items = torch.arange(5).repeat(400)
    translated, _ = Placement("translated", 8, 3, 2).place(images, items, generator())
    cluttered, shown = Placement("cluttered", 8, 3, 2, "brightest").place(images, items, generator())
    assert shown.tolist() == items.unsqueeze(1).tolist()
    assert (cluttered >= translated).all()
    changed = cluttered != translated
    own = (items + 1).view(-1, 1, 1)
    # What is new is never of the image's own shade, and under the image it is brighter.
    assert (cluttered[changed] != own.expand_as(cluttered)[changed]).all()
    assert (cluttered[changed & (translated > 0)] > own.expand_as(cluttered)[changed & (translated > 0)]).all()
    # Outside the image of the darkest shade, one to three pieces of 2x2 of the other shades, each seen.
    for canvas, ground in zip(cluttered[0::5], translated[0::5], strict=True):
        pieces = (canvas != ground).sum()
        assert 4 <= pieces <= 12
        assert set(canvas[canvas != ground].tolist()) <= {2, 3, 4, 5}
    # The brightest image hides all clutter under it.
    assert not (changed & (translated == 5)).any()
    # Shades of the clutter are equally frequent, counted where one cannot hide another.
    alone, _ = Placement("cluttered", 8, 1, 2, "brightest").place(images, torch.zeros(2000, dtype=torch.int64), generator(1))
    assert_uniform([int(canvas.max()) for canvas in alone], {2, 3, 4, 5})


def test_overlapping_clutter_of_one_canvas() -> None:
    # Pieces as large as the canvas all lie in the same place: the brightest of all is seen, whatever its turn.
    images = torch.tensor([0, 10, 20, 30], dtype=torch.uint8).view(4, 1, 1).expand(4, 3, 3).contiguous()
    canvases, _ = Placement("cluttered", 3, 6, 3, "brightest").place(images, torch.zeros(600, dtype=torch.int64), generator())
    shades = Counter(canvas.unique().item() for canvas in canvases)
    # Of six pieces of three shades: the brightest is missing in (2/3)^6 of the canvases, the two brightest in (1/3)^6.
    assert shades[10] < 10 and 25 < shades[20] < 85 and shades[10] + shades[20] + shades[30] == 600


def plainly(rule: str, images: Tensor, items: Tensor, placement: Placement, stream: torch.Generator) -> Tensor:
    """Clutter canvas by canvas and pixel by pixel, in the order and the units of the published rule: pieces first, shades in 0..1."""

    def draw(number: int, count: int) -> Tensor:
        return torch.randint(number, (count,), generator=stream)

    (number, height, width), side, size = images.shape, placement.canvas_size, placement.clutter_size
    where = draw((side - height + 1) * (side - width + 1), len(items))
    pieces = placement.num_clutter * len(items)
    drawn = draw(number if rule == "added" else number - 1, pieces).view(-1, len(items))
    sources = drawn if rule == "added" else (items + 1 + drawn) % number
    cuts = draw((height - size + 1) * (width - size + 1), pieces).view(-1, len(items))
    corners = draw((side - size + 1) ** 2, pieces).view(-1, len(items))
    canvases = torch.zeros(len(items), side, side, dtype=torch.uint8)
    for row in range(len(items)):
        canvas = [[0.0] * side for _ in range(side)]

        def lay(patch: Tensor, corner: tuple[int, int], canvas: list[list[float]] = canvas) -> None:
            for y, x in itertools.product(range(patch.shape[0]), range(patch.shape[1])):
                below, shade = canvas[corner[0] + y][corner[1] + x], int(patch[y, x]) / 255
                canvas[corner[0] + y][corner[1] + x] = below + shade if rule == "added" else max(below, shade)

        for source, cut, corner in zip(sources[:, row].tolist(), cuts[:, row].tolist(), corners[:, row].tolist(), strict=True):
            y, x = divmod(cut, width - size + 1)
            lay(images[source, y : y + size, x : x + size], divmod(corner, side - size + 1))
        canvas[:] = [[min(1.0, shade) for shade in line] for line in canvas]
        lay(images[items[row]], divmod(int(where[row]), side - width + 1))
        canvases[row] = torch.tensor([[round(255 * min(1.0, shade)) for shade in line] for line in canvas])
    return canvases


@pytest.mark.parametrize("rule", ["added", "brightest"])
def test_clutter_is_what_plain_loops_lay(rule: Any) -> None:
    images = torch.randint(200, (7, 6, 5), dtype=torch.uint8, generator=generator(3))
    items, placement = torch.arange(20) % 7, Placement("cluttered", 10, 5, 3, rule)
    canvases, shown = placement.place(images, items, generator(4))
    assert torch.equal(canvases, plainly(rule, images, items, placement, generator(4)))
    assert torch.equal(shown, items.unsqueeze(1)) and (rule == "brightest" or (canvases == 255).any())


def test_pieces_and_image_are_added_up() -> None:
    # Pieces as large as image and canvas: every pixel is the image's shade and six independent ones, of the image itself, too.
    images = torch.tensor([0, 10, 20, 30], dtype=torch.uint8).view(4, 1, 1).expand(4, 3, 3).contiguous()
    canvases, _ = Placement("cluttered", 3, 6, 3).place(images, torch.full((2000,), 3), generator())
    assert all(canvas.unique().numel() == 1 for canvas in canvases)
    shades = canvases[:, 0, 0].float() - 30
    # Mean 6 * 15, variance 6 * 125; five standard errors.
    assert abs(shades.mean() - 90) < 5 * (750 / 2000) ** 0.5 and abs(shades.var() / 750 - 1) < 5 * (2 / 2000) ** 0.5
    assert shades.min() >= 0 and shades.max() <= 180


def test_added_clutter_is_never_more_than_its_pieces_or_white() -> None:
    images = torch.arange(40, 255, 43, dtype=torch.uint8).view(5, 1, 1).expand(5, 4, 4).contiguous()  # 40, 83, ..., 212
    items = torch.arange(5).repeat(400)
    ground, _ = Placement("translated", 12, 2, 2).place(images, items, generator())
    canvases, shown = Placement("cluttered", 12, 2, 2).place(images, items, generator())
    assert torch.equal(shown, items.unsqueeze(1)) and (canvases >= ground).all()
    # Two pieces of four pixels each change eight at most, by two of the brightest shades at most, and white stays white.
    changed = (canvases != ground).flatten(1).sum(dim=1)
    assert changed.max() <= 8 and (changed >= 4).all()
    assert (canvases.int() - ground.int()).max() <= 2 * 212
    # Where two bright ones meet it is white, not a shade that went round.
    assert (canvases[ground == 212] >= 212).all() and (canvases == 255).any()
    # Pieces are cut from all images alike, from the one that is shown, too, and stand everywhere alike.
    alone, _ = Placement("cluttered", 5, 1, 2).place(
        torch.cat([torch.zeros(1, 4, 4, dtype=torch.uint8), images]), torch.zeros(1920, dtype=torch.int64), generator(1)
    )
    assert_uniform([int(canvas.max()) for canvas in alone], {0, *images[:, 0, 0].tolist()})
    seen = alone[(alone > 0).flatten(1).any(dim=1)]
    assert_uniform([tuple((canvas > 0).nonzero()[0].tolist()) for canvas in seen], itertools.product(range(4), range(4)))


def test_pairs_do_not_overlap_and_stand_everywhere_alike() -> None:
    size, canvas_size = 2, 5
    images = distinct(2, size)
    canvases, shown = Placement("pair", canvas_size, 4, 8).place(images, torch.zeros(20_000, dtype=torch.int64), generator())
    places = list(itertools.product(range(canvas_size - size + 1), range(canvas_size - size + 1)))

    def cells(corner: tuple[int, int]) -> set[tuple[int, int]]:
        return {(corner[0] + row, corner[1] + column) for row, column in itertools.product(range(size), repeat=2)}

    # The first corner is the item's, the second the other image's; their columns differ, so that one is on the left.
    possible = [(a, b) for a, b in itertools.product(places, places) if not cells(a) & cells(b) and a[1] != b[1]]
    shade = canvases.flatten(1).long()
    first = [divmod(place, canvas_size) for place in (shade == 1).int().argmax(1).tolist()]
    second = [divmod(place, canvas_size) for place in (shade == 5).int().argmax(1).tolist()]
    assert_uniform(zip(first, second, strict=True), possible)
    for row, a, b in zip(shown.tolist(), first, second, strict=True):
        assert row == ([0, 1] if a[1] < b[1] else [1, 0])
    assert (shade.sum(1) == images.sum()).all()


def test_pairs_are_of_the_item_and_any_other_image() -> None:
    images = distinct(4, 2)
    _, shown = Placement("pair", 4, 4, 8).place(images, torch.arange(4).repeat(300), generator())
    assert_uniform(map(tuple, shown.tolist()), itertools.permutations(range(4), 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides(kind: Any) -> None:
    images = torch.randint(256, (50, 8, 8), dtype=torch.uint8, generator=generator(7))
    before = images.clone()
    items = torch.arange(40)
    placement = Placement(kind, 20, 3, 4)
    torch.manual_seed(1)
    first = placement.place(images, items, generator())
    torch.manual_seed(2)
    again, stream = placement.place(images, items, generator()), generator()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    placement.place(images, items, stream)
    assert torch.equal(placement.place(images, items, stream)[0], first[0]) == (kind == "centred")
    assert torch.equal(images, before)
    canvases, shown = placement.place(images, items[:0], generator())
    assert canvases.shape == (0, 20, 20) and shown.shape == (0, placement.num_objects)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("middle", 60, 4, 8), "kind: expected one of centred, translated, cluttered, pair, got 'middle'"),
        (("centred", 0, 4, 8), "canvas_size: expected at least 1, got 0"),
        (("cluttered", 60, -1, 8), "num_clutter: expected 0 or more, got -1"),
        (("cluttered", 60, 4, 0), "clutter_size: expected at least 1, got 0"),
        (("cluttered", 60, 4, 8, "under"), "clutter_rule: expected one of added, brightest, got 'under'"),
    ],
)
def test_settings_that_cannot_be(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Placement(*settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("centred", 27, 4, 8), "canvas_size: expected at least the size of the images, 28, got 27; set canvas_size, typically 60"),
        (("translated", 20, 4, 8), "canvas_size: expected at least the size of the images, 28, got 20"),
        (("pair", 55, 4, 8), "canvas_size: expected at least 56, twice the size of the images, so that two fit, got 55"),
        (("cluttered", 60, 4, 29), "clutter_size: expected at most the size of the images that it is cut from, 28, got 29"),
    ],
)
def test_images_that_do_not_fit(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Placement(*settings).place(torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0]), generator())


def test_items_that_are_not_there() -> None:
    images = distinct(2, 2)
    for item in (-1, 2):
        with pytest.raises(ValueError, match=f"items: expected 0 to 1, got {item} to {item}; there are 2 images"):
            Placement("centred", 2, 0, 1).place(images, torch.tensor([item]), generator())
    for kind in ("cluttered", "pair"):
        with pytest.raises(ValueError, match=f"placement {kind} takes from other images too and needs at least 2, got 1"):
            Placement(kind, 8, 1, 1, "brightest").place(images[:1], torch.tensor([0]), generator())  # type: ignore[arg-type]
    # DeepMind's rule takes from all images, and one is enough for it.
    assert Placement("cluttered", 8, 1, 1).place(images[:1], torch.tensor([0]), generator())[0].shape == (1, 8, 8)


@pytest.mark.parametrize("height", [20, 28, 36, 11])
def test_images_are_resized_as_pillow_does_it(height: int) -> None:
    images = torch.randint(256, (5, 28, 28), dtype=torch.uint8, generator=generator(5))
    images[1] = 0
    images[2] = 0
    images[2, :, 13] = 255  # a stroke of one pixel
    ours = resized(images, height)
    assert ours.dtype == torch.uint8 and ours.shape == (5, height, height) and not ours[1].any()
    for image, small in zip(images, ours, strict=True):
        theirs = Image.fromarray(image.numpy()).resize((height, height), Image.Resampling.BILINEAR)
        assert (small.int() - torch.from_numpy(np.array(theirs)).int()).abs().max() <= 1
    # No stroke is lost: what is left of it is about as wide as it has to be.
    assert abs(float(ours[2, 0].sum()) / (255 * height / 28) - 1) < 0.15
    assert resized(torch.zeros(1, 10, 20, dtype=torch.uint8), 15).shape == (1, 15, 30)


@pytest.mark.parametrize("kind", ["centred", "translated", "cluttered"])
def test_each_image_is_placed_at_its_own_height(kind: Any) -> None:
    images = torch.randint(1, 256, (3, 6, 6), dtype=torch.uint8, generator=generator(6))
    items, heights = torch.arange(3).repeat(300), torch.tensor([4, 6, 9, 5, 10]).repeat(180)
    placement = Placement(kind, 12, 0, 2)
    canvases, shown = placement.place(images, items, generator(), heights)
    assert torch.equal(shown, items.unsqueeze(1))
    corners: dict[int, list[tuple[int, int]]] = {}
    for canvas, item, height in zip(canvases, items.tolist(), heights.tolist(), strict=True):
        image = resized(images[item : item + 1], height)[0]
        corners.setdefault(height, []).append(corner_of(canvas, image))
        assert canvas.sum() == image.sum()
    for height, found in corners.items():
        places = range(12 - height + 1)
        if kind == "centred":
            assert set(found) == {((12 - height) // 2,) * 2}
        elif len(places) <= 4:
            assert_uniform(found, itertools.product(places, places))
    # Images of one height as they are: the same places as without heights.
    same = placement.place(images, items, generator(), torch.full((900,), 6))
    assert torch.equal(same[0], placement.place(images, items, generator())[0])
