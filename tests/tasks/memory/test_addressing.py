"""The addressing of neural Turing machines, by hand: each of its equations with numbers worked out outside."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqrl.tasks.memory import addressing
from seqrl.tasks.memory.cells import NeuralTuringMachine


def column(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_content_is_weighed_by_the_cosine() -> None:
    memory = torch.tensor([[[3.0, 4.0], [-3.0, -4.0], [4.0, -3.0], [30.0, 40.0]]], dtype=torch.float64)
    # cos 1, -1, 0 and 1 again, whatever the lengths; with β = ln 2 these are 2, 1/2, 1 and 2 of 5.5.
    found = addressing.by_content(memory, column(0.6, 0.8), column(math.log(2)))
    torch.testing.assert_close(found, column(2 / 5.5, 0.5 / 5.5, 1 / 5.5, 2 / 5.5))
    far = addressing.by_content(memory, column(4.0, -3.0), column(200.0))
    torch.testing.assert_close(far, column(0, 0, 1, 0))


def test_the_gate_chooses_between_content_and_place() -> None:
    found, before = column(1, 0, 0), column(0, 0.5, 0.5)
    torch.testing.assert_close(addressing.interpolate(found, before, column(0.25)), column(0.25, 0.375, 0.375))


def test_a_shift_goes_round() -> None:
    weight = column(0.7, 0.3, 0, 0)
    torch.testing.assert_close(addressing.shift(weight, column(0, 0, 1)), column(0, 0.7, 0.3, 0))
    torch.testing.assert_close(addressing.shift(weight, column(1, 0, 0)), column(0.3, 0, 0, 0.7))
    # A tenth back, a fifth stays, seven tenths on.
    expected = column(0.14 + 0.03, 0.49 + 0.06, 0.21, 0.07)
    torch.testing.assert_close(addressing.shift(weight, column(0.1, 0.2, 0.7)), expected)


def test_sharpening() -> None:
    torch.testing.assert_close(addressing.sharpen(column(0.5, 0.25, 0.25), column(2)), column(4 / 6, 1 / 6, 1 / 6))
    torch.testing.assert_close(addressing.sharpen(column(0.6, 0.4), column(1)), column(0.6, 0.4))


def test_reading_and_writing() -> None:
    memory = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64)
    torch.testing.assert_close(addressing.read(memory, column(0.25, 0.75)), column(2.5, 3.5))
    # The first number is erased, the second half; 10 and 20 are added; all of it by half and not at all.
    written = addressing.write(memory, column(0.5, 0), column(1, 0.5), column(10, 20))
    torch.testing.assert_close(written, torch.tensor([[[0.5 + 5, 1.5 + 10], [3.0, 4.0]]], dtype=torch.float64))


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_gradients_are_finite_where_nothing_is(power: float) -> None:
    weight = torch.zeros(1, 4, dtype=torch.float64)
    weight[0, 0] = 1.0
    weight.requires_grad_()
    addressing.sharpen(weight, column(power))[0, 1].backward()
    assert weight.grad is not None and bool(weight.grad.isfinite().all())


def test_heads_begin_at_the_first_location_and_their_weights_sum_to_1() -> None:
    torch.manual_seed(0)
    machine = NeuralTuringMachine(3, 8, 6, 4)
    state = machine.initial_state(5)
    assert state["reads_at"].tolist() == [[1, 0, 0, 0, 0, 0]] * 5
    for _ in range(4):
        output, state = machine(torch.rand(5, 3), state)
        for name in ("reads_at", "writes_at"):
            torch.testing.assert_close(state[name].sum(dim=1), torch.ones(5))
        torch.testing.assert_close(output[:, 8:], (state["reads_at"].unsqueeze(2) * state["memory"]).sum(dim=1))


def test_a_machine_wired_by_hand_moves_on_by_one_location() -> None:
    machine = NeuralTuringMachine(3, 8, 6, 4)
    with torch.no_grad():
        machine.heads.weight.zero_()
        key, strength, gate, moves, power = machine.heads.bias.split(machine.sizes)[:5]
        key.zero_(), strength.zero_(), gate.fill_(-50.0), power.fill_(-50.0)
        moves.copy_(torch.tensor([-50.0, -50.0, 50.0]))
    state = machine.initial_state(1)
    for step in range(1, 8):
        with torch.no_grad():
            _, state = machine(torch.rand(1, 3), state)
        assert int(state["writes_at"].argmax()) == step % 6 and float(state["writes_at"].max()) > 0.999
