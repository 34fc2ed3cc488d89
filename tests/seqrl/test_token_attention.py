"""Attention over shared memory against loops over rows, heads and regions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqrl.policies.token_attention import look, places_of

N, H, R, D = 4, 2, 5, 3
ITEMS = {
    "one row an item": [0, 1, 2, 3],
    "the same number of rows": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
    "ragged": [0, 1, 1, 1, 1, 2, 2, 3],
    "items without rows": [1, 1, 3],
    "only the last": [3],
}


def tensors(num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_rows)
    return tuple(torch.randn(*shape, generator=generator) for shape in ((num_rows, H, D), (N, H, R, D), (N, H, R, D)))  # type: ignore[return-value]


def by_hand(query: Tensor, keys: Tensor, values: Tensor, item: list[int], mask: Tensor) -> list[list[list[float]]]:
    """One row, head and region at a time, in Python's floats."""
    rows = []
    for row, n in enumerate(item):
        heads = []
        for head in range(H):
            q = query[row, head].tolist()
            there = [region for region in range(R) if mask[n, region]]
            weight = [math.exp(sum(a * b for a, b in zip(q, keys[n, head, r].tolist(), strict=True)) / math.sqrt(D)) for r in there]
            seen = [values[n, head, r].tolist() for r in there]
            heads.append([sum(w * v[i] for w, v in zip(weight, seen, strict=True)) / sum(weight) for i in range(D)])
        rows.append(heads)
    return rows


@pytest.mark.parametrize("rows", ITEMS)
@pytest.mark.parametrize("masked", [False, True])
def test_look_equals_loops_over_rows_heads_and_regions(rows: str, masked: bool) -> None:
    item = ITEMS[rows]
    query, keys, values = tensors(len(item))
    mask = torch.ones(N, R, dtype=torch.bool)
    if masked:
        mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 0, 0]], dtype=torch.bool)
        # What a mask hides may hold anything.
        keys, values = (leaf.masked_fill(~mask[:, None, :, None], 1e4) for leaf in (keys, values))
    expected = torch.tensor(by_hand(query, keys, values, item, mask))
    given = look(query, keys, values, torch.tensor(item), mask if masked else None)
    assert torch.allclose(given, expected, atol=1e-6)
    assert torch.equal(look(query, keys, values, places_of(torch.tensor(item), N), mask if masked else None), given)


def test_without_item_row_i_looks_at_item_i() -> None:
    query, keys, values = tensors(N)
    mask = torch.rand(N, R, generator=torch.Generator().manual_seed(0)) > 0.5
    mask[:, 0] = True
    expected = torch.tensor(by_hand(query, keys, values, list(range(N)), mask))
    assert torch.allclose(look(query, keys, values, mask=mask), expected, atol=1e-6)


def test_keys_and_values_may_be_views_of_another_layout() -> None:
    query, keys, values = tensors(6)
    item = torch.tensor([0, 0, 1, 2, 2, 3])
    other_keys, other_values = (leaf.transpose(1, 2).contiguous().transpose(1, 2) for leaf in (keys, values))
    assert torch.allclose(look(query, other_keys, other_values, item), look(query, keys, values, item), atol=1e-6)


@pytest.mark.parametrize("rows", ITEMS)
def test_rows_are_laid_out_by_item_and_taken_back(rows: str) -> None:
    item = ITEMS[rows]
    places = places_of(torch.tensor(item), N)
    numbers = torch.arange(1, len(item) + 1)
    laid_out = places.lay_out(numbers)
    expected = [[number for number, n in zip(numbers.tolist(), item, strict=True) if n == wanted] for wanted in range(N)]
    longest = max(len(row) for row in expected)
    assert laid_out.tolist() == [row + [0] * (longest - len(row)) for row in expected]
    assert torch.equal(places.take_back(laid_out), numbers)
