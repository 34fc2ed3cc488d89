"""Eyes that anybody can compute by hand: the mean of each channel in the left and the right half of a picture of 8x8 pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seqrl.tasks.captioning import policies


class Halves:
    """Prepares by resizing to 8x8 pixels."""

    key, shape = "halves", (3, 8, 8)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(picture.resize((8, 8), Image.Resampling.NEAREST)).transpose(2, 0, 1))


class FakeEyes:
    """Counts how many images it has been shown."""

    key, num_regions, feature_dim = "fake-1", 2, 3

    def __init__(self, name: str = "fake") -> None:
        self.name, self.prepare, self.shown = name, Halves(), 0

    def __call__(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 8, 8)
        self.shown += len(images)
        halves = images.float().view(-1, 3, 8, 2, 4).mean(dim=(2, 4))
        return halves.transpose(1, 2) / 255


def by_hand(picture: np.ndarray) -> np.ndarray:
    """Give [2, 3] for a picture [3, S, S] whose left and right halves are of one colour each, without any of ours."""
    half = picture.shape[2] // 2
    return np.stack([picture[:, :, :half].reshape(3, -1).mean(axis=1), picture[:, :, half:].reshape(3, -1).mean(axis=1)]) / 255


def install(monkeypatch: pytest.MonkeyPatch) -> FakeEyes:
    """Let every name that is no encoder of ours open these eyes."""
    eyes = FakeEyes()
    monkeypatch.setattr(policies, "open_eyes", lambda name: eyes)
    monkeypatch.setattr(policies, "check_eyes", lambda name: None)
    return eyes
