"""Minimum-risk training against the expected score over all candidates, differentiated by autograd."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqrl.functional import losses
from seqrl.functional.minimum_risk import candidates, minimum_risk
from seqrl.functional.reductions import masked_mean
from seqrl.trajectory import Trajectory


def row_logp(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """log p of every step [N, T]: the weights [V + 1, V] are read by the token before."""
    before = torch.cat([torch.full((rows.shape[0], 1), weights.shape[1]), rows[:, :-1]], dim=1)
    return weights.log_softmax(dim=1)[before].gather(2, rows.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize("sharpness", [0.005, 1.0, 3.0])
def test_the_gradient_is_that_of_the_expected_score_over_every_candidate(sharpness: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = torch.tensor(list(itertools.product(range(3), repeat=2)))
    score = torch.rand(9, dtype=torch.float64, generator=generator)
    # By brute force: p^a over all nine rows, renormalised.
    share = (sharpness * row_logp(weights, rows).sum(dim=1)).softmax(dim=0)
    wanted = torch.autograd.grad(-(share * score).sum(), weights)[0]
    logp = row_logp(weights, rows)
    advantage = minimum_risk(logp.detach().sum(dim=1), score, sharpness).unsqueeze(1).expand_as(logp)
    loss = masked_mean(losses.policy_gradient(logp, advantage), torch.ones_like(logp, dtype=torch.bool), over="rows")
    torch.testing.assert_close(torch.autograd.grad(loss, weights)[0], wanted)


def test_copies_are_one_candidate_and_groups_and_rows_that_do_not_count_are_apart() -> None:
    logp, score = torch.tensor([-1.0, -2.0, -1.0, -0.5, -3.0, 0.0]), torch.tensor([1.0, 3.0, 1.0, 2.0, 5.0, float("nan")])
    group, valid = torch.tensor([4, 4, 4, 9, 9, 9]), torch.tensor([True] * 5 + [False])
    got = minimum_risk(logp, score, 2.0, group, valid, torch.tensor([0, 1, 0, 0, 1, 2]))
    first, second = minimum_risk(logp[:2], score[:2], 2.0), minimum_risk(logp[3:5], score[3:5], 2.0)
    # Two copies share what their candidate had alone; the sum is over three rows in the place of two.
    assert (got[0] + got[2]).item() == pytest.approx(1.5 * first[0].item()) and got[0] == got[2]
    assert got[1].item() == pytest.approx(1.5 * first[1].item())
    torch.testing.assert_close(got[3:5], second)
    assert got[5] == 0


def test_without_sharpness_it_is_the_mean_of_the_group() -> None:
    score = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    got = minimum_risk(torch.tensor([-9.0, -1.0, -4.0], dtype=torch.float64), score, 1e-9) / 1e-9
    torch.testing.assert_close(got, torch.tensor([-2.0, -1.0, 3.0], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_unlikely_rows_do_not_underflow() -> None:
    logp = torch.tensor([-500.0, -501.0, -900.0])
    torch.testing.assert_close(
        minimum_risk(logp, torch.tensor([1.0, 0.0, 0.0]), 1.0), minimum_risk(logp + 500, torch.tensor([1.0, 0.0, 0.0]), 1.0)
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((torch.zeros(3), torch.zeros(3), 0.0), "sharpness: expected a number above 0"),
        ((torch.zeros(2), torch.zeros(3), 1.0), r"logp: expected shape \[3\] like score"),
        ((torch.zeros(3), torch.zeros(3), 1.0, torch.tensor([1, 1, 2])), "group 2 has 1; num_samples"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        minimum_risk(*arguments)


def test_rows_are_the_same_by_what_the_policy_did() -> None:
    action = torch.tensor([[5, 2, 0], [5, 2, 7], [5, 2, 7], [5, 3, 2]])
    mask = torch.tensor([[True, True, False]] * 3 + [[True] * 3])
    reward = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    logp = torch.tensor([[-1.0, -2.0, -9.0]] * 4)
    trajectory = Trajectory(
        action=action,
        logp=logp,
        value=torch.zeros(4, 4),
        reward=reward,
        terminated=torch.zeros(4, 3, dtype=torch.bool),
        truncated=torch.zeros(4, 3, dtype=torch.bool),
        mask=mask,
        obs=torch.zeros(4, 4, dtype=torch.long),
    )
    total, same = candidates(trajectory)
    assert total.tolist() == [-3.0, -3.0, -3.0, -12.0]
    assert same[0] == same[1] and len(set(same.tolist())) == 3
