"""Changes to rewards, against numbers by hand and sums that must hold."""

from __future__ import annotations

import statistics

import pytest
import torch

from seqrl.functional import shaping


def test_kl_penalty_by_hand() -> None:
    reward = torch.tensor([[0.0, 0.0, 1.0, 5.0]])
    logp, reference = torch.tensor([[-1.0, -2.0, -1.0, float("nan")]]), torch.tensor([[-1.5, -1.0, -1.0, -9.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert shaping.kl_penalty(reward, logp, reference, mask, 0.2).tolist() == [pytest.approx([-0.1, 0.2, 1.0, 5.0])]
    assert shaping.kl_penalty(reward[:, :3], logp[:, :3], reference[:, :3], mask[:, :3], 0.2, estimator="k2").tolist() == [
        pytest.approx([-0.025, -0.1, 1.0])
    ]


def test_kl_penalty_is_zero_at_the_reference_and_carries_no_gradient() -> None:
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    shaped = shaping.kl_penalty(torch.ones(1, 2), logp, logp, torch.ones(1, 2, dtype=torch.bool), 0.5)
    assert torch.equal(shaped, torch.ones(1, 2)) and not shaped.requires_grad


def test_clip_reward() -> None:
    assert shaping.clip_reward(torch.tensor([-7.0, 0.3, 4.0])).tolist() == pytest.approx([-1.0, 0.3, 1.0])
    with pytest.raises(ValueError, match="low < high"):
        shaping.clip_reward(torch.zeros(1), 1.0, 1.0)


def test_moments_of_parts_are_the_moments_of_the_whole() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 100
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    x[~mask] = float("nan")
    moments = shaping.Moments()
    for part in (slice(0, 1), slice(1, 1), slice(1, 4)):
        moments = shaping.merge_moments(moments, shaping.moments_of(x[part], mask[part]))
    numbers = x[mask].tolist()
    assert moments.count == len(numbers)
    assert moments.mean == pytest.approx(statistics.fmean(numbers), rel=1e-12)
    assert moments.variance == pytest.approx(statistics.pvariance(numbers), rel=1e-9)


def test_scale_reward_keeps_the_sign_and_starts_as_identity() -> None:
    reward = torch.tensor([[-2.0, 4.0]])
    assert torch.allclose(shaping.scale_reward(reward, shaping.Moments()), reward)
    assert torch.allclose(shaping.scale_reward(reward, shaping.Moments(10, 50.0, 16.0)), torch.tensor([[-0.5, 1.0]]))


def test_running_return_by_hand_and_in_parts() -> None:
    reward, ended = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[False, True, False, False]])
    whole, carry = shaping.running_return(reward, ended, 0.5, torch.tensor([2.0]))
    assert whole.tolist() == [[2.0, 3.0, 4.0, 10.0]] and carry.tolist() == [10.0]
    first, middle = shaping.running_return(reward[:, :2], ended[:, :2], 0.5, torch.tensor([2.0]))
    second, last = shaping.running_return(reward[:, 2:], ended[:, 2:], 0.5, middle)
    assert torch.equal(torch.cat([first, second], dim=1), whole) and torch.equal(last, carry)


def test_score_differences_add_up_to_the_score() -> None:
    prefix = torch.tensor([[0.0, 0.5, 0.2, 1.0, 1.0], [0.0, 0.25, 0.75, float("nan"), float("nan")]])
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    credit = shaping.score_differences(prefix, mask)
    assert credit[0].tolist() == pytest.approx([0.5, -0.3, 0.8, 0.0]) and credit[1].tolist() == [0.25, 0.5, 0.0, 0.0]
    assert credit.sum(dim=1).tolist() == pytest.approx([1.0, 0.75])
    with pytest.raises(ValueError, match="empty prefix"):
        shaping.score_differences(prefix[:, 1:], mask)


def test_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="mask: expected shape"):
        shaping.kl_penalty(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(2, dtype=torch.bool), 0.1)
    with pytest.raises(ValueError, match="start: expected shape"):
        shaping.running_return(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), 0.9, torch.zeros(3))
