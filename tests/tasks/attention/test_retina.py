from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqrl.tasks.attention.retina import Retina


def cut_by_loops(image: NDArray[np.uint8], x: float, y: float, size: int, scale: int) -> NDArray[np.float64]:
    """One scale of one glimpse, pixel by pixel."""
    height, width = image.shape
    factor = 2**scale
    corners = []
    for place, extent in ((y, height), (x, width)):
        centre = (min(1.0, max(-1.0, place)) + 1) / 2 * extent
        corners.append(round(centre - size / 2) - (size * factor - size) // 2)
    glimpse = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            total = 0.0
            for i in range(factor):
                for j in range(factor):
                    at = corners[0] + row * factor + i, corners[1] + column * factor + j
                    if 0 <= at[0] < height and 0 <= at[1] < width:
                        total += image[at]
            glimpse[row, column] = total / factor**2 / 255
    return glimpse


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("size", "num_scales", "shape"), [(8, 1, (28, 28)), (5, 1, (9, 14)), (12, 3, (60, 60)), (3, 4, (11, 7)), (1, 2, (3, 3))]
)
def test_glimpses_are_those_cut_pixel_by_pixel(size: int, num_scales: int, shape: tuple[int, int], compiled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, *shape), dtype=torch.uint8, generator=generator)
    location = torch.rand(6, 2, generator=generator) * 2.4 - 1.2  # some of them outside
    location[:2] = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    retina = Retina(size, num_scales)
    retina.compiled = compiled
    glimpses = retina.cut(images, location).view(6, num_scales, size, size)
    assert glimpses.dtype == torch.float32
    for row in range(6):
        for scale in range(num_scales):
            expected = cut_by_loops(images[row].numpy(), *location[row].tolist(), size, scale)
            np.testing.assert_allclose(glimpses[row, scale].numpy(), expected, atol=1e-6)


def test_the_first_coordinate_goes_to_the_right() -> None:
    image = torch.zeros(1, 10, 20, dtype=torch.uint8)
    image[0, 2, 15] = 255  # row 2, column 15
    glimpse = Retina(1).cut(image, torch.tensor([[15.5 / 10 - 1, 2.5 / 5 - 1]]))
    assert glimpse.tolist() == [[1.0]]


@pytest.mark.parametrize("num_scales", [1, 3])
def test_many_locations_over_few_images(num_scales: int) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8, generator=generator)
    image, location = torch.tensor([2, 0, 2, 1]), torch.rand(4, 2, generator=generator) * 2 - 1
    retina = Retina(4, num_scales)
    together = retina.cut_prepared(retina.prepare(images), location, image)
    assert torch.equal(together, retina.cut(images[image], location))


def test_a_glimpse_has_no_derivative_by_its_location() -> None:
    location = torch.zeros(2, 2, requires_grad=True)
    assert not Retina(4, 2).cut(torch.ones(2, 9, 9, dtype=torch.uint8), location).requires_grad


def test_large_images_are_summed_exactly() -> None:
    images = torch.full((1, 3000, 3000), 255, dtype=torch.uint8)  # sums beyond 2^31
    assert Retina(4, 2).cut(images, torch.tensor([[0.9, 0.9]])).unique().tolist() == [1.0]


def test_what_does_not_fit_is_refused() -> None:
    image = torch.zeros(2, 9, 9, dtype=torch.uint8)
    with pytest.raises(ValueError, match="glimpse size and scales: expected at least 1 each, got 0 and 1"):
        Retina(0)
    with pytest.raises(ValueError, match="glimpse_size: expected at most the image's 9 pixels, got 10 for images of 9x9"):
        Retina(10).cut(image, torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"images: expected uint8 \[N, H, W\], grey levels of one channel, got torch.float32"):
        Retina(4).cut(image.float(), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"images: expected uint8 \[N, H, W\].*\[2, 3, 9, 9\]"):
        Retina(4).cut(torch.zeros(2, 3, 9, 9, dtype=torch.uint8), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"location: expected shape \[2, 2\]"):
        Retina(4).cut(image, torch.zeros(3, 2))
