from __future__ import annotations

import itertools

import pytest
import torch

from seqrl.functional import returns
from seqrl.functional.targets import categorical_cross_entropy, n_step_transitions, project_categorical, quantile_huber


def rows(seed: int, B: int = 6, T: int = 9) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    reward, value = torch.randn(B, T, generator=draw), torch.randn(B, T + 1, generator=draw)
    ends = torch.rand(B, T, generator=draw)
    return reward, value, ends < 0.15, (ends >= 0.15) & (ends < 0.3)


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_joined_steps_written_out(n: int) -> None:
    reward, _, terminated, truncated = rows(0)
    earned, follows, after = n_step_transitions(reward, terminated, truncated, 0.9, n)
    for b, t in itertools.product(range(6), range(9)):
        total, factor, now = 0.0, 1.0, t
        while True:
            total += factor * float(reward[b, now])
            factor *= 0.9
            stop = bool(terminated[b, now] or truncated[b, now])
            if terminated[b, now]:
                factor = 0.0
            now += 1
            if stop or now == t + n or now == 9:
                break
        assert float(earned[b, t]) == pytest.approx(total, abs=1e-5)
        assert float(follows[b, t]) == pytest.approx(factor, abs=1e-6)
        assert int(after[b, t]) == now


def test_joined_steps_make_the_n_step_return() -> None:
    reward, value, terminated, truncated = rows(1)
    for n in (1, 3, 5):
        earned, follows, after = n_step_transitions(reward, terminated, truncated, 0.9, n)
        torch.testing.assert_close(
            earned + follows * value.gather(1, after), returns.n_step(reward, value, terminated, truncated, 0.9, n), rtol=1e-5, atol=1e-6
        )


def test_what_follows_an_end_is_never_read() -> None:
    reward = torch.tensor([[1.0, 2.0, torch.nan]])
    cut = torch.tensor([[False, True, False]])
    off = torch.zeros_like(cut)
    earned, follows, _ = n_step_transitions(reward, cut, off, 0.5, 3)
    assert earned[0, :2].tolist() == [2.0, 2.0] and follows[0, :2].tolist() == [0.0, 0.0]
    earned, follows, after = n_step_transitions(reward, off, cut, 0.5, 3)
    assert earned[0, :2].tolist() == [2.0, 2.0] and follows[0, :2].tolist() == [0.25, 0.5] and after[0, :2].tolist() == [2, 2]


def test_projection_by_hand() -> None:
    support = torch.tensor([0.0, 1.0, 2.0])
    probability = torch.tensor([[0.5, 0.25, 0.25]])
    # Returns 0.5, 1.0 and 1.5: halves of the first and the last go to their neighbours.
    half = project_categorical(probability, torch.tensor([0.5]), torch.tensor([0.5]), support)
    assert half.tolist() == [[0.25, 0.25 + 0.25 + 0.125, 0.125]]
    # All mass at the reward after an end; beyond the support it stays at its edge.
    assert project_categorical(probability, torch.tensor([1.0]), torch.tensor([0.0]), support).tolist() == [[0.0, 1.0, 0.0]]
    assert project_categorical(probability, torch.tensor([9.0]), torch.tensor([1.0]), support).tolist() == [[0.0, 0.0, 1.0]]
    assert project_categorical(probability, torch.tensor([-9.0]), torch.tensor([1.0]), support).tolist() == [[1.0, 0.0, 0.0]]


def test_projection_keeps_mass_and_mean() -> None:
    draw = torch.Generator().manual_seed(0)
    support = torch.linspace(-10, 10, 51)
    probability = torch.randn(7, 5, 51, generator=draw).softmax(dim=-1)
    earned, follows = torch.randn(7, 5, generator=draw), 0.8 * torch.rand(7, 5, generator=draw)
    projected = project_categorical(probability, earned, follows, support)
    assert float(projected.min()) >= 0
    torch.testing.assert_close(projected.sum(-1), torch.ones(7, 5))
    torch.testing.assert_close(projected @ support, earned + follows * (probability @ support), rtol=1e-4, atol=1e-4)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([0.25, 0.75]).log()
    target = torch.tensor([0.5, 0.5])
    expected = -(0.5 * torch.tensor(0.25).log() + 0.5 * torch.tensor(0.75).log())
    torch.testing.assert_close(categorical_cross_entropy(logits, target), expected)


@pytest.mark.parametrize("delta", [0.0, 1.0, 0.5])
def test_quantile_loss_written_out(delta: float) -> None:
    draw = torch.Generator().manual_seed(2)
    quantiles, target = torch.randn(3, 4, generator=draw) * 2, torch.randn(3, 5, generator=draw) * 2
    got = quantile_huber(quantiles, target, delta)
    for b in range(3):
        total = 0.0
        for i in range(4):
            fraction = (2 * (i + 1) - 1) / 8
            for j in range(5):
                u = float(target[b, j] - quantiles[b, i])
                size = abs(u) if delta == 0 else (0.5 * u * u if abs(u) <= delta else delta * (abs(u) - 0.5 * delta)) / delta
                total += abs(fraction - (u < 0)) * size / 5
        assert float(got[b]) == pytest.approx(total, rel=1e-4)


def test_quantile_loss_finds_the_quantiles_of_a_sample() -> None:
    sample = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    quantiles = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.SGD([quantiles], lr=0.2)
    for _ in range(400):
        optimiser.zero_grad()
        quantile_huber(quantiles, sample, 0.0).backward()
        optimiser.step()
    torch.testing.assert_close(quantiles.detach(), sample.quantile(torch.tensor([0.125, 0.375, 0.625, 0.875])), rtol=0, atol=0.02)


def test_bad_input_is_refused() -> None:
    flag = torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="gamma: expected"):
        n_step_transitions(torch.zeros(1, 2), flag, flag, 1.5, 1)
    with pytest.raises(ValueError, match="n: expected at least 1"):
        n_step_transitions(torch.zeros(1, 2), flag, flag, 0.5, 0)
    with pytest.raises(ValueError, match="huber_delta"):
        quantile_huber(torch.zeros(2), torch.zeros(2), -1.0)
