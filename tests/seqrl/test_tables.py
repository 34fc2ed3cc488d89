"""Tables as policies."""

from __future__ import annotations

import math

import pytest
import torch

from seqrl.policies.tables import ActionValueTable, ProbabilityTable
from seqrl.trajectory import Trajectory


def rows(obs: list[list[int]], action: list[list[int]], imitate: list[list[bool]] | None = None) -> Trajectory:
    B, T = len(action), len(action[0])
    off = torch.zeros(B, T, dtype=torch.bool)
    return Trajectory(
        action=torch.tensor(action),
        logp=torch.zeros(B, T),
        value=torch.zeros(B, T + 1),
        reward=torch.zeros(B, T),
        terminated=off,
        truncated=off,
        mask=off if imitate else ~off,
        obs=torch.tensor(obs),
        imitate=torch.tensor(imitate) if imitate else None,
    )


def test_epsilon_greedy_draws_what_it_says() -> None:
    table = ActionValueTable(2, 4)
    table.values.copy_(torch.tensor([[1.0, 3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    table.epsilon = 0.2
    obs = torch.tensor([0, 1]).repeat(40_000)
    action = table.act(obs, generator=torch.Generator().manual_seed(0)).action
    expected = {0: [0.05, 0.45, 0.45, 0.05], 1: [0.05, 0.05, 0.05, 0.85]}
    for state, probabilities in expected.items():
        shares = torch.bincount(action[obs == state], minlength=4) / 40_000
        torch.testing.assert_close(shares, torch.tensor(probabilities), rtol=0, atol=0.01)
    filled = table.annotate(rows([[0, 1, 0]], [[2, 0]]))
    torch.testing.assert_close(filled.logp.exp(), torch.tensor([[0.45, 0.05]]))
    assert filled.value.tolist() == [[3.0, 1.0, 3.0]]
    evaluation = table(rows([[0, 1, 0]], [[2, 0]]))
    torch.testing.assert_close(evaluation.logp, filled.logp)
    assert float(evaluation.entropy[0, 1]) == pytest.approx(-3 * 0.05 * math.log(0.05) - 0.85 * math.log(0.85))


def test_greedy_takes_the_first_best_and_a_first_value_fills_the_table() -> None:
    table = ActionValueTable(2, 3, first_value=7.0)
    assert table.values.unique().tolist() == [7.0]
    table.values[0, 2] = 9.0
    assert table.act(torch.tensor([0, 1]), greedy=True).action.tolist() == [2, 0]


def test_probabilities_are_the_softmax_and_carry_gradients() -> None:
    table = ProbabilityTable(2, 2)
    with torch.no_grad():
        table.logits.copy_(torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]))
        table.critic.weight.copy_(torch.tensor([[5.0], [6.0]]))
    evaluation = table(rows([[0, 1, 0]], [[1, 0]]))
    torch.testing.assert_close(evaluation.logp.exp(), torch.tensor([[0.75, 0.5]]))
    assert evaluation.value.tolist() == [[5.0, 6.0]]
    (-evaluation.logp.sum()).backward()
    torch.testing.assert_close(table.logits.grad, torch.tensor([[0.25, -0.25], [-0.5, 0.5]]))
    filled = table.annotate(rows([[0, 1, 0]], [[1, 0]]))
    torch.testing.assert_close(filled.logp, evaluation.logp.detach())
    assert filled.value.tolist() == [[5.0, 6.0, 5.0]]


def test_counting_by_hand() -> None:
    table = ProbabilityTable(3, 2)
    with torch.no_grad():
        table.logits[2, 0] = math.log(4.0)  # 0.8 and 0.2, never seen
    # State 0: action 0 three times; state 1: each once. The last step of the second row does not count.
    elites = rows([[0, 0, 1, 2], [0, 1, 2, 2]], [[0, 0, 1], [0, 0, 0]], [[True, True, True], [True, True, False]])
    table.count(elites, smoothing=0.5, mixing=0.25)
    probabilities = table.logits.softmax(dim=1)
    first = 0.25 * (3 + 0.5) / (3 + 1.0) + 0.75 * 0.5
    torch.testing.assert_close(probabilities, torch.tensor([[first, 1 - first], [0.5, 0.5], [0.8, 0.2]]))
    table.count(elites, smoothing=0.0, mixing=1.0)
    assert table.logits.softmax(dim=1)[0].tolist() == [1.0, pytest.approx(0.0, abs=1e-20)]
    assert table.logits.isfinite().all()
