"""Adaptive computation time: halting weights and what thinking costs, by hand; and a cell that thinks as its bias says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqrl.tasks.memory.cells import LSTM, PONDER, AdaptiveTime, halting


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


@pytest.mark.parametrize(
    ("halts", "weights", "cost"),
    [
        ([0.2, 0.3, 0.6, 0.9], [0.2, 0.3, 0.5, 0.0], 3 + 0.5),  # 0.2 + 0.3 + 0.6 >= 0.99; R = 1 - 0.5
        ([0.995, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0], 1 + 1.0),  # ε lets it end at once
        ([0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], 4 + 0.7),  # the last one stops in any case
        ([0.5, 0.49, 0.3, 0.3], [0.5, 0.5, 0.0, 0.0], 2 + 0.5),  # just 1 - ε
    ],
)
def test_by_hand(halts: list[float], weights: list[float], cost: float) -> None:
    found, ponder = halting(row(*halts), 0.01)
    torch.testing.assert_close(found, row(*weights))
    torch.testing.assert_close(ponder, torch.tensor([cost], dtype=torch.float64))


def test_weights_sum_to_1_and_rows_are_apart() -> None:
    halts = torch.rand(200, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights, ponder = halting(halts, 0.01)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(200, dtype=torch.float64))
    assert (weights >= 0).all() and (ponder > 1).all() and (ponder <= 8).all()
    for index in (0, 17, 199):
        alone = halting(halts[index : index + 1], 0.01)
        torch.testing.assert_close(alone[0][0], weights[index])


def test_the_cost_has_the_gradient_of_the_remainder() -> None:
    halts = row(0.2, 0.3, 0.6, 0.9).requires_grad_()
    halting(halts, 0.01)[1].sum().backward()
    assert halts.grad is not None and halts.grad.tolist() == [[-1.0, -1.0, 0.0, 0.0]]


def test_a_cell_that_halts_at_once_is_the_cell_itself() -> None:
    torch.manual_seed(0)
    inner = LSTM(4, 5)
    cell = AdaptiveTime(inner, 6)
    with torch.no_grad():
        cell.halt.weight.zero_(), cell.halt.bias.fill_(30.0)
    x, state = torch.rand(2, 3), cell.initial_state(2)
    output, after = cell(x, state)
    plain, _ = inner(torch.cat([x, torch.ones(2, 1)], dim=1), inner.initial_state(2))
    torch.testing.assert_close(output, plain)
    assert after[PONDER].tolist() == [2.0, 2.0]


def test_a_cell_that_halts_by_a_third_thinks_three_times_and_gives_the_mean() -> None:
    torch.manual_seed(0)
    inner = LSTM(4, 5)
    cell = AdaptiveTime(inner, 6)
    third = torch.tensor(0.34)
    with torch.no_grad():
        cell.halt.weight.zero_(), cell.halt.bias.fill_(float(third.logit()))
    x = torch.rand(2, 3)
    output, after = cell(x, cell.initial_state(2))
    outputs, state = [], inner.initial_state(2)
    for flag in (1.0, 0.0, 0.0):
        thought, state = inner(torch.cat([x, torch.full((2, 1), flag)], dim=1), state)
        outputs.append(thought)
    torch.testing.assert_close(output, 0.34 * outputs[0] + 0.34 * outputs[1] + 0.32 * outputs[2])
    torch.testing.assert_close(after[PONDER], torch.full((2,), 3.32))
