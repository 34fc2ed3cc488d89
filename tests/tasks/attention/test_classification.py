from __future__ import annotations

import math

import pytest
import torch

from seqrl.tasks.attention.classification import classification_loss, object_of_step, read_steps


def test_the_glimpses_are_shared_out_among_the_objects() -> None:
    assert read_steps(6, 2) == [2, 5] and object_of_step(6, 2) == [0, 0, 0, 1, 1, 1]
    assert read_steps(7, 2) == [2, 6] and object_of_step(7, 2) == [0, 0, 0, 1, 1, 1, 1]
    assert read_steps(5, 1) == [4] and object_of_step(5, 1) == [0] * 5


@pytest.mark.parametrize("early", [0.0, 0.25])
def test_the_loss_by_hand(early: float) -> None:
    """One image with classes 1 and 0, four glimpses, of which the second and the fourth are read; the odds of class 1 are given."""
    odds = torch.tensor([1.0, 3.0, 3.0, 1.0])
    hidden = torch.stack([torch.zeros(4), odds.log()], dim=1).unsqueeze(1)
    found = classification_loss(lambda states: states, hidden, hidden[-1], torch.tensor([[1, 0]]), early)
    read, other = -(math.log(3 / 4) + math.log(1 / 2)) / 2, -(math.log(1 / 2) + math.log(1 / 4)) / 2
    assert float(found) == pytest.approx((1 - early) * read + early * other)


def test_a_single_objects_gradient_goes_through_the_last_state() -> None:
    hidden, last = torch.zeros(3, 2, 4, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    classification_loss(lambda states: states, hidden, last, torch.tensor([[1], [3]]), 0.0).backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is None and last.grad is not None and last.grad.any()
