"""Ranks against those of scipy's definition, by hand."""

from __future__ import annotations

import torch

from seqrl.functional.ranks import centred_ranks


def test_ranks_by_hand() -> None:
    assert centred_ranks(torch.tensor([30.0, -1.0, 2.0])).tolist() == [0.5, -0.5, 0.0]
    assert centred_ranks(torch.tensor([5.0, 5.0, 1.0, 9.0, 5.0])).tolist() == [0.0, 0.0, -0.5, 0.5, 0.0]


def test_equal_scores_say_nothing() -> None:
    assert centred_ranks(torch.full((4,), 7.0)).tolist() == [0.0] * 4
