from __future__ import annotations

import io
import random

import numpy as np
import torch

from seqrl.run.seeding import random_state, restore_random_state, seed_everything


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]


def test_same_seed_same_numbers() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert draw() != first


def test_state_comes_back_from_a_file_without_code() -> None:
    seed_everything(3)
    draw()  # leaves a cached normal number in python's and numpy's generators
    file = io.BytesIO()
    torch.save(random_state(), file)
    expected = draw()
    seed_everything(99)
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True))
    assert draw() == expected


def test_new_tensors_are_not_filled() -> None:
    seed_everything(0)
    assert torch.are_deterministic_algorithms_enabled() or torch.cuda.is_available()
    # As deterministic mode would have it, a new tensor is NaN all over.
    assert not all(torch.empty(64).isnan().all() for _ in range(8))
