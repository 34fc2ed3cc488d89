"""Averages against plain lists; what does not count must not matter, however it is padded or split."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from seqrl.distributed import whiten
from seqrl.functional.reductions import AverageOver, count_of, masked_mean, masked_moments, masked_sum

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MASK = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) < 0.6
COUNTED = X[MASK].tolist()


def test_against_plain_lists() -> None:
    assert masked_sum(X, MASK).item() == pytest.approx(math.fsum(COUNTED))
    assert masked_mean(X, MASK).item() == pytest.approx(statistics.fmean(COUNTED))
    mean, deviation = masked_moments(X, MASK)
    assert (mean.item(), deviation.item()) == pytest.approx((statistics.fmean(COUNTED), statistics.pstdev(COUNTED)))
    whitened = whiten(X, MASK)[MASK].tolist()
    assert statistics.fmean(whitened) == pytest.approx(0.0, abs=1e-9) and statistics.pstdev(whitened) == pytest.approx(1.0)


def test_what_does_not_count_may_be_nan() -> None:
    dirty = X.masked_fill(~MASK, math.nan)
    for function in (masked_sum, masked_mean, whiten):
        assert torch.equal(function(dirty, MASK), function(X, MASK))


def test_padding_does_not_matter() -> None:
    padded = torch.cat([X, torch.full((5, 3), 99.0, dtype=torch.float64)], dim=1)
    mask = torch.cat([MASK, torch.zeros(5, 3, dtype=torch.bool)], dim=1)
    assert masked_mean(padded, mask).item() == pytest.approx(masked_mean(X, MASK).item(), abs=1e-15)


def test_parts_add_up_to_the_whole() -> None:
    count = MASK.sum()
    parts = sum(masked_mean(X[rows], MASK[rows], count) for rows in (slice(0, 2), slice(2, 5)))
    assert float(parts) == pytest.approx(masked_mean(X, MASK).item())
    assert masked_mean(X, MASK, 4.0).item() == pytest.approx(math.fsum(COUNTED) / 4)


def test_nothing_that_counts_gives_zero() -> None:
    nothing = torch.zeros_like(MASK)
    assert masked_mean(X, nothing).item() == 0.0 and [each.item() for each in masked_moments(X, nothing)] == [0.0, 0.0]
    assert torch.equal(whiten(X, nothing), torch.zeros_like(X))


def test_gradient_reaches_what_counts_only() -> None:
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(masked_mean(x, MASK), x)
    assert torch.allclose(gradient, MASK.double() / len(COUNTED), rtol=0, atol=1e-15)


def test_shapes_are_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"mask: expected shape \[5, 4\]"):
        masked_mean(X, MASK[:, :1])


def test_mean_without_a_mask_is_over_everything() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert (masked_mean(x, None).item(), masked_mean(x, None, 6).item(), masked_mean(x[:0], None).item()) == (3.0, 2.0, 0.0)


@pytest.mark.parametrize("over", ["steps", "rows", "row_means"])
def test_what_is_averaged_over_against_plain_lists(over: AverageOver) -> None:
    mask = MASK.clone()
    mask[2] = False  # a row in which nothing counts is no row
    rows = [X[i][mask[i]].tolist() for i in range(5) if mask[i].any()]
    assert len({len(row) for row in rows}) > 1 and len(rows) == 4
    expected = {
        "steps": sum(map(math.fsum, rows)) / sum(map(len, rows)),
        "rows": sum(map(math.fsum, rows)) / 4,
        "row_means": sum(map(statistics.fmean, rows)) / 4,
    }[over]
    assert masked_mean(X.masked_fill(~mask, math.nan), mask, over=over).item() == pytest.approx(expected)
    assert count_of(mask, over).item() == (sum(map(len, rows)) if over == "steps" else 4)
    parts = sum(masked_mean(X[part], mask[part], count_of(mask, over), over=over) for part in (slice(0, 2), slice(2, 5)))
    assert float(parts) == pytest.approx(expected)
    everywhere = masked_mean(X, torch.ones_like(mask), over=over)
    assert masked_mean(X, None, over=over).item() == pytest.approx(everywhere.item())


def test_row_means_need_rows() -> None:
    with pytest.raises(ValueError, match=r"over: row_means expects x of shape \[B, T\]"):
        masked_mean(X[0], MASK[0], over="row_means")
