"""Packing against rows that are picked and written one by one, and its derivatives against differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqrl.policies.packing import counted_places, pack, unpack

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


@pytest.mark.parametrize("mask", [MASK, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool), MASK[:0]])
@pytest.mark.parametrize("shape", [(), (4,), (2, 5)])
def test_entries_that_count_come_in_order_and_return_to_their_places(mask: Tensor, shape: tuple[int, ...]) -> None:
    x = torch.randn(*mask.shape, *shape, generator=torch.Generator().manual_seed(0))
    chosen = [x[row, step] for row, step in mask.nonzero().tolist()]
    packed = pack(x, mask)
    assert packed.shape == (len(chosen), *shape) and all(torch.equal(a, b) for a, b in zip(packed, chosen, strict=True))
    back = unpack(packed, mask)
    for row in range(mask.shape[0]):
        for step in range(mask.shape[1]):
            assert torch.equal(back[row, step], x[row, step] if mask[row, step] else torch.zeros(shape))


def test_packs_numbers_of_any_type_and_transposed_ones() -> None:
    tokens = torch.arange(9).view(3, 3).t()
    assert pack(tokens, MASK).tolist() == [0, 6, 2, 5, 8]
    assert unpack(torch.tensor([7, 8, 9, 10, 11]), MASK).tolist() == [[7, 0, 8], [0, 0, 0], [9, 10, 11]]
    assert counted_places(MASK).tolist() == [0, 2, 6, 7, 8]


@pytest.mark.parametrize("mask", [MASK, torch.ones(3, 3, dtype=torch.bool)])
def test_derivatives_of_both_and_of_their_derivatives(mask: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    packed = torch.randn(int(mask.sum()), 2, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pack(x, mask), (x,)) and torch.autograd.gradcheck(lambda x: unpack(x, mask), (packed,))
    assert torch.autograd.gradgradcheck(lambda x: pack(x, mask).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda x: unpack(x, mask).square(), (packed,))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"x: expected \[B, T, ...\] to fit a mask"):
        pack(torch.zeros(3, 2), MASK)
    with pytest.raises(ValueError, match="x: expected 5 entries, as many as the mask counts"):
        unpack(torch.zeros(4, 2), MASK)
