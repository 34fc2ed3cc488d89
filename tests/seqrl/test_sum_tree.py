from __future__ import annotations

import pytest
import torch

from seqrl.replay.sum_tree import SumTree


@pytest.mark.parametrize("size", [1, 5, 32, 33, 1025, 40_000])
def test_finds_what_a_running_sum_finds(size: int) -> None:
    draw = torch.Generator().manual_seed(size)
    tree = SumTree(size)
    weights = torch.zeros(size, dtype=torch.float64)
    for _ in range(5):
        index = torch.randint(size, (200,), generator=draw).unique()
        weight = torch.rand(index.shape[0], generator=draw, dtype=torch.float64) * (torch.rand(index.shape[0], generator=draw) < 0.7)
        tree.set(index, weight)
        weights[index] = weight
        if weights.sum() == 0:
            continue
        assert torch.equal(tree.weights, weights)
        assert tree.total == pytest.approx(float(weights.sum()), rel=1e-12)
        share = torch.rand(500, generator=draw, dtype=torch.float64)
        expected = torch.searchsorted(weights.cumsum(0), share * weights.sum(), right=True)
        found = tree.find(share)
        # At the limit between two weights rounding decides; nowhere else.
        assert int((found != expected).sum()) <= 1
        assert bool((weights[found] > 0).all())


def test_edges_never_find_a_weight_of_zero() -> None:
    tree = SumTree(100)
    tree.set(torch.tensor([3, 40, 70]), torch.tensor([0.1, 0.2, 0.7]))
    assert tree.find(torch.tensor([0.0, 1.0 - 1e-16, 1.0], dtype=torch.float64)).tolist() == [3, 70, 70]


def test_draws_in_proportion() -> None:
    draw = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 0.0]).double()
    tree = SumTree(6)
    tree.set(torch.arange(6), weights)
    N = 20_000
    counts = tree.find(torch.rand(N, generator=draw, dtype=torch.float64)).bincount(minlength=6).double()
    expected = N * weights / weights.sum()
    chi_square = float(((counts - expected)[1:5] ** 2 / expected[1:5]).sum())
    assert counts[0] == counts[5] == 0 and chi_square < 16.3  # 0.999 quantile with 3 degrees of freedom


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="size: expected at least 1"):
        SumTree(0)
    with pytest.raises(ValueError, match="every weight is 0"):
        SumTree(3).find(torch.tensor([0.5]))
