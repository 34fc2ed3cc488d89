"""Baselines against loops over plain lists and numbers by hand."""

from __future__ import annotations

import statistics

import pytest
import torch

from seqrl.functional import advantages
from seqrl.functional.row_advantages import one_episode
from seqrl.trajectory import Trajectory

SCORE = torch.tensor([1.0, 5.0, 2.0, 8.0, 6.0, 4.0, 3.0], dtype=torch.float64)
GROUP = torch.tensor([7, -1, 7, -1, 30, 7, 30])


def test_leave_one_out_by_hand() -> None:
    assert advantages.leave_one_out(torch.tensor([1.0, 2.0, 6.0])).tolist() == [-3.0, -1.5, 4.5]


def test_leave_one_out_by_loop() -> None:
    valid = torch.tensor([True, True, True, True, True, False, True])
    for mask in (None, valid):
        counted = [True] * 7 if mask is None else mask.tolist()
        got = advantages.leave_one_out(SCORE, GROUP, mask).tolist()
        for i in range(7):
            others = [SCORE[j].item() for j in range(7) if j != i and counted[j] and GROUP[j] == GROUP[i]]
            assert got[i] == pytest.approx(SCORE[i].item() - statistics.mean(others) if counted[i] else 0.0)


def test_group_norm_by_loop() -> None:
    got = advantages.group_norm(SCORE, GROUP, epsilon=0.5).tolist()
    for i in range(7):
        group = [SCORE[j].item() for j in range(7) if GROUP[j] == GROUP[i]]
        assert got[i] == pytest.approx((SCORE[i].item() - statistics.mean(group)) / (statistics.pstdev(group) + 0.5))


def test_equal_scores_teach_nothing() -> None:
    same = torch.full((4,), 0.1)
    assert torch.equal(advantages.leave_one_out(same), torch.zeros(4))
    assert advantages.group_norm(same).abs().max() < 1e-3


@pytest.mark.parametrize("method", [advantages.leave_one_out, advantages.group_norm])
def test_row_order_and_batch_split_do_not_matter(method) -> None:
    order = torch.tensor([6, 2, 0, 4, 3, 1, 5])
    whole = method(SCORE, GROUP)
    assert torch.allclose(method(SCORE[order], GROUP[order]), whole[order], rtol=0, atol=1e-14)
    for number in (7, -1, 30):
        rows = number == GROUP
        assert torch.allclose(method(SCORE[rows]), whole[rows], rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", [advantages.leave_one_out, advantages.group_norm])
def test_rows_that_do_not_count_add_nothing_be_they_nan(method) -> None:
    score = torch.cat([SCORE, torch.tensor([float("nan"), float("inf")], dtype=torch.float64)])
    group = torch.cat([GROUP, torch.tensor([7, 99])])
    valid = torch.tensor([True] * 7 + [False] * 2)
    got = method(score, group, valid)
    assert torch.equal(got[:7], method(SCORE, GROUP))
    assert got[7:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("method", [advantages.leave_one_out, advantages.group_norm])
def test_a_lonely_row_is_refused(method) -> None:
    with pytest.raises(ValueError, match=r"the batch has 1; num_samples must be >= 2"):
        method(torch.tensor([1.0]))
    with pytest.raises(ValueError, match=r"group 5 has 1; num_samples must be >= 2"):
        method(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 5, 2]))
    with pytest.raises(ValueError, match=r"group 2 has 1"):
        method(torch.tensor([1.0, 2.0]), torch.tensor([2, 2]), torch.tensor([True, False]))


def test_moving_average_by_hand() -> None:
    first, average = advantages.moving_average(torch.tensor([1.0, 3.0]), None, 0.75, torch.tensor(2.0))
    assert first.tolist() == [-1.0, 1.0] and average.item() == 2.0
    # The second batch meets the average of the first only.
    second, average = advantages.moving_average(torch.tensor([6.0, 10.0]), average, 0.75, torch.tensor(8.0))
    assert second.tolist() == [4.0, 8.0] and average.item() == 0.75 * 2 + 0.25 * 8


def test_greedy_and_critic() -> None:
    assert advantages.greedy(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5])).tolist() == [-2.0, 1.5]
    assert advantages.critic(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 1.0, 9.0]])).tolist() == [[-3.0, 1.0]]


def test_no_gradient_flows() -> None:
    score = torch.tensor([1.0, 2.0], requires_grad=True)
    value = torch.zeros(1, 3, requires_grad=True)
    for advantage in (
        advantages.greedy(score, score),
        advantages.leave_one_out(score),
        advantages.group_norm(score),
        advantages.moving_average(score, None, 0.5, score.mean())[0],
        advantages.critic(score[None], value),
    ):
        assert not advantage.requires_grad


def test_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="greedy_baseline=True"):
        advantages.greedy(SCORE, None)
    with pytest.raises(ValueError, match="baseline: expected shape"):
        advantages.greedy(SCORE, SCORE[:1])
    with pytest.raises(ValueError, match=r"score: expected shape \[B\]"):
        advantages.leave_one_out(SCORE[None])
    with pytest.raises(ValueError, match="group: expected shape"):
        advantages.leave_one_out(SCORE, GROUP[:3])
    with pytest.raises(ValueError, match="valid: expected a bool tensor"):
        advantages.group_norm(SCORE, GROUP, torch.ones(7))
    with pytest.raises(ValueError, match="decay"):
        advantages.moving_average(SCORE, None, 1.5, SCORE.mean())
    with pytest.raises(ValueError, match=r"value: expected shape \[B, T\+1\]"):
        advantages.critic(SCORE[None], SCORE[None])


def test_leave_one_out_to_go_by_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    B, T = 7, 5
    go = torch.randn(B, T, generator=generator, dtype=torch.float64)
    lengths = [5, 2, 1, 4, 3, 5, 2]
    counted = torch.arange(T) < torch.tensor(lengths).unsqueeze(1)
    valid = torch.tensor([True, True, True, True, True, False, True])
    go = torch.where(counted, go, torch.nan)  # what stands after a row's end must not be read
    got = advantages.leave_one_out_to_go(go, counted, GROUP, valid)
    for i in range(B):
        others = [j for j in range(B) if j != i and valid[j] and GROUP[j] == GROUP[i]]
        for t in range(T):
            held = [float(go[j, min(t, lengths[j] - 1)]) for j in others]
            expected = float(go[i, t]) - statistics.mean(held) if valid[i] and t < lengths[i] else 0.0
            assert float(got[i, t]) == pytest.approx(expected)


def test_leave_one_out_to_go_of_rewards_at_the_end_is_that_of_the_scores_to_the_bit() -> None:
    score = torch.randn(40, generator=torch.Generator().manual_seed(0))
    group = torch.arange(8).repeat_interleave(5)
    length = torch.randint(1, 7, (40,), generator=torch.Generator().manual_seed(1))
    counted = torch.arange(6) < length.unsqueeze(1)
    got = advantages.leave_one_out_to_go(torch.where(counted, score.unsqueeze(1), 0.0), counted, group)
    assert torch.equal(got, torch.where(counted, advantages.leave_one_out(score, group).unsqueeze(1), 0.0))


def test_leave_one_out_to_go_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match=r"counted: expected shape \[B, T\]"):
        advantages.leave_one_out_to_go(SCORE, torch.ones(7, dtype=torch.bool))
    with pytest.raises(ValueError, match="group 4 has 1"):
        advantages.leave_one_out_to_go(torch.ones(3, 2), torch.ones(3, 2, dtype=torch.bool), torch.tensor([4, 5, 5]))


def test_group_mean_by_loop() -> None:
    got = advantages.group_mean(SCORE, GROUP).tolist()
    for i in range(7):
        assert got[i] == pytest.approx(SCORE[i].item() - statistics.mean(SCORE[j].item() for j in range(7) if GROUP[j] == GROUP[i]))


def test_moving_average_of_a_part_takes_the_mean_of_the_whole() -> None:
    score = torch.tensor([1.0, 3.0])
    for part in (score[:1], score[:0]):
        advantage, average = advantages.moving_average(part, None, 0.5, mean=score.mean())
        assert advantage.tolist() == (part - 2.0).tolist() and float(average) == 2.0
    advantage, average = advantages.moving_average(score[1:], torch.tensor(4.0), 0.5, mean=score.mean())
    assert advantage.tolist() == [-1.0] and float(average) == 3.0


@pytest.mark.parametrize(("counted", "refused"), [([True, True, False], False), ([True, True, True], True), ([True, False, True], True)])
def test_rows_that_go_on_after_an_end_are_refused_by_name(counted: list[bool], refused: bool) -> None:
    ended = torch.tensor([[False, True, False], [False, False, True]])
    zeros, no = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    rows = Trajectory(zeros, zeros, torch.zeros(2, 4), zeros, ended, no, torch.tensor([counted, [True, True, True]]))
    if not refused:
        one_episode(rows, "baseline greedy", "set trainer.baseline=critic")
        return
    with pytest.raises(ValueError, match="baseline greedy: .*collect whole episodes, or set trainer.baseline=critic"):
        one_episode(rows, "baseline greedy", "set trainer.baseline=critic")
