from __future__ import annotations

import pytest
import torch

from seqrl.trainers.minibatches import Minibatches, MinibatchUnit
from seqrl.trajectory import Trajectory


def numbered(mask: torch.Tensor) -> tuple[Trajectory, torch.Tensor]:
    """Rows whose actions are 10 b + t; each observation repeats its place, so that one that came from elsewhere shows."""
    B, T = mask.shape
    place = 10 * torch.arange(B).unsqueeze(1) + torch.arange(T + 1)
    zeros, flags = torch.zeros(B, T), torch.zeros(B, T, dtype=torch.bool)
    rows = Trajectory(place[:, :T], zeros, place.float(), zeros, flags, flags, mask, obs={"seen": place.float().unsqueeze(2)})
    return rows, place[:, :T].float()


@pytest.mark.parametrize("unit", ["rows", "steps"])
@pytest.mark.parametrize("number", [1, 3, 100])
def test_an_epoch_gives_each_step_once_with_what_belongs_to_it(unit: MinibatchUnit, number: int) -> None:
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True], [False, True, True]])
    rows, column = numbered(mask)
    parts = list(Minibatches(rows, number, unit, torch.Generator().manual_seed(0)).epoch(advantage=column, target=-column))
    assert len(parts) == min(number, 5 if unit == "rows" else 11)
    sizes = [part.batch_size for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    seen: list[float] = []
    for part, columns in parts:
        advantage, target = columns["advantage"], columns["target"]
        assert torch.equal(part.action.float(), advantage) and torch.equal(advantage, -target)
        assert torch.equal(part.value[:, :-1], advantage)
        assert isinstance(part.obs, dict) and torch.equal(part.obs["seen"][:, :-1, 0], advantage)
        assert part.obs["seen"].shape[:2] == (part.batch_size, part.num_steps + 1)
        seen += advantage[part.mask].tolist()
    assert sorted(seen) == column[mask].tolist()


def test_epochs_have_orders_of_their_own_that_the_generator_decides() -> None:
    rows, column = numbered(torch.ones(8, 4, dtype=torch.bool))

    def orders(seed: int) -> list[list[float]]:
        minibatches = Minibatches(rows, 4, "steps", torch.Generator().manual_seed(seed))
        return [torch.cat([columns["target"] for _, columns in minibatches.epoch(target=column)]).flatten().tolist() for _ in range(2)]

    first, second = orders(0)
    assert first != second and [first, second] == orders(0) and [first, second] != orders(1)


def test_a_single_minibatch_keeps_the_order_and_draws_nothing() -> None:
    rows, column = numbered(torch.ones(2, 3, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    (part, columns), *others = Minibatches(rows, 1, "steps", generator).epoch(advantage=column)
    assert not others and torch.equal(generator.get_state(), before)
    assert columns["advantage"].flatten().tolist() == [0, 1, 2, 10, 11, 12] and part.num_steps == 1
