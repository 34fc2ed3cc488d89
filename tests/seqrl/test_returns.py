"""Returns against sums written out, hand constants, and a small decision process that is enumerated."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from seqrl.functional import returns

NAN = math.nan


def flags(*rows: str) -> tuple[Tensor, Tensor]:
    """'..T.U' -> terminated, truncated."""
    return torch.tensor([[c == "T" for c in row] for row in rows]), torch.tensor([[c == "U" for c in row] for row in rows])


def random_case(rows: tuple[str, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    B, T = len(rows), len(rows[0])
    reward = torch.randn(B, T, generator=generator, dtype=torch.float64)
    value = torch.randn(B, T + 1, generator=generator, dtype=torch.float64)
    return reward, value, *flags(*rows)


def end_of(row: str, t: int) -> int:
    """Index of the last step that the return from t sees."""
    return next((k for k in range(t, len(row)) if row[k] in "TU"), len(row) - 1)


def written_out(row: str, reward: list[float], value: list[float], gamma: float, t: int, n: int) -> float:
    """The n-step return from t as one sum."""
    last = min(t + n - 1, end_of(row, t))
    total = sum(gamma ** (k - t) * reward[k] for k in range(t, last + 1))
    return total + (0.0 if row[last] == "T" else gamma ** (last + 1 - t) * value[last + 1])


CASES = (".....", "....T", "....U", "..T..", ".U.T.", "T.U..", "UUTT.")


def test_discounted_return_by_hand() -> None:
    reward, value = torch.tensor([[1.0, 2.0, 3.0]] * 3), torch.tensor([[0.0, 0.0, 0.0, 8.0]] * 3)
    got = returns.discounted_return(reward, value, *flags("..T", "..U", "..."), 0.5)
    assert got.tolist() == [[2.75, 3.5, 3.0], [3.75, 5.5, 7.0], [3.75, 5.5, 7.0]]


def test_an_end_that_is_both_counts_as_termination() -> None:
    both = torch.tensor([[True]])
    assert returns.discounted_return(torch.tensor([[1.0]]), torch.tensor([[0.0, 5.0]]), both, both, 0.9).item() == 1.0
    assert returns.gae(torch.tensor([[1.0]]), torch.tensor([[0.0, 5.0]]), both, both, 0.9, 0.9).item() == 1.0
    assert returns.n_step(torch.tensor([[1.0]]), torch.tensor([[0.0, 5.0]]), both, both, 0.9, 3).item() == 1.0


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_discounted_return_written_out(gamma: float) -> None:
    reward, value, terminated, truncated = random_case(CASES)
    got = returns.discounted_return(reward, value, terminated, truncated, gamma)
    for b, row in enumerate(CASES):
        for t in range(len(row)):
            assert got[b, t].item() == pytest.approx(written_out(row, reward[b].tolist(), value[b].tolist(), gamma, t, 99), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_n_step_written_out(n: int) -> None:
    reward, value, terminated, truncated = random_case(CASES)
    got = returns.n_step(reward, value, terminated, truncated, 0.9, n)
    for b, row in enumerate(CASES):
        for t in range(len(row)):
            assert got[b, t].item() == pytest.approx(written_out(row, reward[b].tolist(), value[b].tolist(), 0.9, t, n), abs=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_gae_is_the_mixture_of_n_step_advantages(decay: float) -> None:
    reward, value, terminated, truncated = random_case(CASES)
    advantage = returns.gae(reward, value, terminated, truncated, 0.9, decay)
    target = returns.td_lambda(reward, value, terminated, truncated, 0.9, decay)
    for b, row in enumerate(CASES):
        for t in range(len(row)):
            longest = end_of(row, t) - t + 1
            weights = [(1 - decay) * decay**k for k in range(longest - 1)] + [decay ** (longest - 1)]
            steps = (written_out(row, reward[b].tolist(), value[b].tolist(), 0.9, t, n) for n in range(1, longest + 1))
            mixture = sum(weight * step for weight, step in zip(weights, steps, strict=True))
            assert advantage[b, t].item() == pytest.approx(mixture - value[b, t].item(), abs=1e-12)
            assert target[b, t].item() == pytest.approx(mixture, abs=1e-12)


def test_gae_by_hand() -> None:
    # deltas: 1 + 0.5*4 - 2 = 1, 1 + 0.5*6 - 4 = 0, 1 - 6 = -5; traces of 0.5 * 0.5
    got = returns.gae(torch.ones(1, 3), torch.tensor([[2.0, 4.0, 6.0, 100.0]]), *flags("..T"), 0.5, 0.5)
    assert got.tolist() == [[1 + 0.25 * -1.25, -1.25, -5.0]]


def test_truncation_bootstraps_and_termination_does_not() -> None:
    # Reward 1 for ever at a discount of 0.9 is worth 10 everywhere: with that critic nothing is better than expected.
    reward, value = torch.ones(1, 4), torch.full((1, 5), 10.0)
    cut, ended = flags("...U"), flags("...T")
    for decay in (0.0, 0.5, 1.0):
        assert torch.allclose(returns.gae(reward, value, *cut, 0.9, decay), torch.zeros(1, 4), atol=1e-5)
    assert torch.allclose(returns.discounted_return(reward, value, *cut, 0.9), torch.full((1, 4), 10.0))
    # Where the reward really stops, the same critic is too hopeful by what it expects after the end, 9 at the last step.
    lost = returns.gae(reward, value, *ended, 0.9, 1.0)
    assert lost[0].tolist() == pytest.approx([-9 * 0.9**3, -9 * 0.9**2, -9 * 0.9, -9.0], rel=1e-5)


@pytest.mark.parametrize("end", ["T", "U"])
def test_nothing_after_an_end_reaches_the_steps_before_it(end: str) -> None:
    # Step 2 is the dummy step of a vector environment or padding: its reward and all values after it are NaN.
    terminated, truncated = flags(f".{end}...")
    reward = torch.tensor([[1.0, 2.0, NAN, NAN, NAN]])
    value = torch.tensor([[3.0, 4.0, NAN if end == "T" else 5.0, NAN, NAN, NAN]])
    clean, clean_value = reward[:, :2], torch.tensor([[3.0, 4.0, 5.0]])
    short = (clean, clean_value, terminated[:, :2], truncated[:, :2])
    long = (reward, value, terminated, truncated)
    assert torch.equal(returns.discounted_return(*long, 0.9)[:, :2], returns.discounted_return(*short, 0.9))
    assert torch.equal(returns.n_step(*long, 0.9, 3)[:, :2], returns.n_step(*short, 0.9, 3))
    assert torch.equal(returns.gae(*long, 0.9, 0.8)[:, :2], returns.gae(*short, 0.9, 0.8))
    logp = torch.tensor([[-1.0, -2.0, NAN, NAN, NAN]])
    for got, expected in zip(
        returns.vtrace(logp, logp * 0.5, *long, 0.9), returns.vtrace(logp[:, :2], logp[:, :2] * 0.5, *short, 0.9), strict=True
    ):
        assert torch.equal(got[:, :2], expected)


def test_rows_do_not_know_each_other() -> None:
    case = random_case(CASES)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    whole = returns.gae(*case, 0.9, 0.8)
    assert torch.equal(returns.gae(*(x[order] for x in case), 0.9, 0.8), whole[order])
    halves = [returns.gae(*(x[part] for x in case), 0.9, 0.8) for part in (slice(0, 3), slice(3, 7))]
    assert torch.equal(torch.cat(halves), whole)


def test_inputs_are_left_alone() -> None:
    case = random_case(CASES)
    before = [x.clone() for x in case]
    returns.discounted_return(*case, 0.9)
    returns.vtrace(case[0], case[0], *case, 0.9)
    assert all(torch.equal(x, y) for x, y in zip(case, before, strict=True))


def test_vtrace_written_out() -> None:
    generator = torch.Generator().manual_seed(1)
    reward, value, terminated, truncated = random_case(CASES)
    target, behaviour = (torch.randn(reward.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    gamma, rho_bar, c_bar = 0.9, 1.5, 0.8
    got, advantage = returns.vtrace(target, behaviour, reward, value, terminated, truncated, gamma, rho_bar, c_bar)
    for b, row in enumerate(CASES):
        ratio = [math.exp(target[b, t] - behaviour[b, t]) for t in range(len(row))]
        after = [0.0 if row[t] == "T" else value[b, t + 1].item() for t in range(len(row))]
        delta = [min(rho_bar, ratio[t]) * (reward[b, t].item() + gamma * after[t] - value[b, t].item()) for t in range(len(row))]
        targets = []
        for s in range(len(row)):
            total = value[b, s].item()
            for t in range(s, end_of(row, s) + 1):
                total += gamma ** (t - s) * math.prod(min(c_bar, ratio[i]) for i in range(s, t)) * delta[t]
            targets.append(total)
        assert got[b].tolist() == pytest.approx(targets)
        for t, end in enumerate(row):
            following = after[t] if end in "TU" or t == len(row) - 1 else targets[t + 1]
            expected = min(rho_bar, ratio[t]) * (reward[b, t].item() + gamma * following - value[b, t].item())
            assert advantage[b, t].item() == pytest.approx(expected)


# A process of two steps with two actions each: the reward depends on both actions, the second on the first one's state.
REWARDS = {(): {0: 1.0, 1: -0.5}, (0,): {0: 2.0, 1: 0.3}, (1,): {0: -1.0, 1: 4.0}}
TARGET = {(): 0.3, (0,): 0.6, (1,): 0.8}  # probability of action 1
BEHAVIOUR = {(): 0.5, (0,): 0.2, (1,): 0.4}
DISCOUNT = 0.9


def probability(policy: dict[tuple[int, ...], float], state: tuple[int, ...], action: int) -> float:
    return policy[state] if action else 1 - policy[state]


def value_of(policy: dict[tuple[int, ...], float], state: tuple[int, ...] = ()) -> float:
    if len(state) == 2:
        return 0.0
    return sum(probability(policy, state, a) * (REWARDS[state][a] + DISCOUNT * value_of(policy, (*state, a))) for a in (0, 1))


def clipped_policy(rho_bar: float) -> dict[tuple[int, ...], float]:
    """min(rho_bar * behaviour, target), normalised: what V-trace evaluates (Espeholt et al. 2018, eq. 3)."""
    policy = {}
    for state in TARGET:
        weight = [min(rho_bar * probability(BEHAVIOUR, state, a), probability(TARGET, state, a)) for a in (0, 1)]
        policy[state] = weight[1] / sum(weight)
    return policy


def expected_vtrace(value: dict[tuple[int, ...], float], rho_bar: float, c_bar: float) -> float:
    """Mean target of the first state over all trajectories of the behaviour policy."""
    paths = list(itertools.product((0, 1), repeat=2))
    rows = [[((), a), ((a,), b)] for a, b in paths]
    logp = {
        policy_name: torch.tensor([[math.log(probability(policy, s, a)) for s, a in row] for row in rows], dtype=torch.float64)
        for policy_name, policy in (("target", TARGET), ("behaviour", BEHAVIOUR))
    }
    reward = torch.tensor([[REWARDS[s][a] for s, a in row] for row in rows], dtype=torch.float64)
    values = torch.tensor([[value[()], value[(a,)], 77.0] for a, _ in paths], dtype=torch.float64)
    terminated, truncated = flags(*[".T"] * 4)
    targets, _ = returns.vtrace(logp["target"], logp["behaviour"], reward, values, terminated, truncated, DISCOUNT, rho_bar, c_bar)
    return float((logp["behaviour"].sum(dim=1).exp() * targets[:, 0]).sum())


def test_vtrace_without_clipping_gives_the_target_policys_value() -> None:
    wrong = {(): 5.0, (0,): -3.0, (1,): 2.0}
    assert expected_vtrace(wrong, 1e9, 1e9) == pytest.approx(value_of(TARGET), rel=1e-12)


def test_vtrace_with_clipping_has_the_clipped_policys_value_as_fixed_point() -> None:
    fixed = {state: value_of(clipped_policy(1.0), state) for state in TARGET}
    assert expected_vtrace(fixed, 1.0, 1.0) == pytest.approx(fixed[()], rel=1e-12)
    assert abs(fixed[()] - value_of(TARGET)) > 0.05  # so that the test above tells the two apart


def test_on_policy_targets_average_to_the_true_value() -> None:
    rows = list(itertools.product((0, 1), repeat=2))
    weight = torch.tensor([probability(TARGET, (), a) * probability(TARGET, (a,), b) for a, b in rows], dtype=torch.float64)
    reward = torch.tensor([[REWARDS[()][a], REWARDS[(a,)][b]] for a, b in rows], dtype=torch.float64)
    true = torch.tensor([[value_of(TARGET), value_of(TARGET, (a,)), 77.0] for a, _ in rows], dtype=torch.float64)
    case = (reward, true, *flags(*[".T"] * 4))
    for got in (
        returns.discounted_return(*case, DISCOUNT),
        returns.n_step(*case, DISCOUNT, 1),
        returns.td_lambda(*case, DISCOUNT, 0.4),
    ):
        assert float((weight * got[:, 0]).sum()) == pytest.approx(value_of(TARGET), rel=1e-12)


def test_misfits_are_named() -> None:
    reward, value, terminated, truncated = random_case(CASES)
    with pytest.raises(ValueError, match=r"value: expected shape \[B, T\+1\] = \[7, 6\]"):
        returns.gae(reward, value[:, :-1], terminated, truncated, 0.9, 0.9)
    with pytest.raises(ValueError, match="truncated: expected a bool tensor"):
        returns.discounted_return(reward, value, terminated, truncated.float(), 0.9)
    with pytest.raises(ValueError, match="gamma: expected a number in 0..1, got 99"):
        returns.discounted_return(reward, value, terminated, truncated, 99)
    with pytest.raises(ValueError, match="n: expected at least 1"):
        returns.n_step(reward, value, terminated, truncated, 0.9, 0)
    with pytest.raises(ValueError, match="c_bar: expected at most rho_bar"):
        returns.vtrace(reward, reward, reward, value, terminated, truncated, 0.9, 1.0, 2.0)
    with pytest.raises(ValueError, match="logp_behaviour: expected shape"):
        returns.vtrace(reward, reward[:, :1], reward, value, terminated, truncated, 0.9)
    with pytest.raises(ValueError, match="reward: expected shape"):
        returns.gae(reward[0], value, terminated, truncated, 0.9, 0.9)


def whole_returns_by_loop(reward: list[float], ended: list[bool], counted: list[bool], gamma: float) -> list[float | None]:
    """Walk through a row, cut it into episodes of steps that count, and give each step its episode's discounted sum."""
    result: list[float | None] = [None] * len(reward)
    episode: list[int] = []
    for t in range(len(reward)):
        if counted[t]:
            episode.append(t)
        if episode and (ended[t] or t == len(reward) - 1):
            total = sum(gamma ** (k - episode[0]) * reward[k] for k in range(episode[0], episode[-1] + 1))
            for k in episode:
                result[k] = total
            episode = []
    return result


def test_return_of_ones_own_episode_by_hand() -> None:
    # Two steps, an end, the dummy step of a reset, and an episode of three that is still going on.
    reward = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])
    ended = torch.tensor([[False, True, False, False, False, False]])
    counted = torch.tensor([[True, True, False, True, True, True]])
    go = returns.discounted_return(reward, torch.zeros(1, 7), ended, torch.zeros_like(ended), 1.0)
    whole = returns.episode_return(go, ended, counted)[0].tolist()
    assert [whole[t] for t in (0, 1, 3, 4, 5)] == [0, 0, 3, 3, 3]


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_return_of_ones_own_episode_by_loop(gamma: float) -> None:
    generator = torch.Generator().manual_seed(5)
    seen = 0
    for _ in range(40):
        T = 12
        reward = torch.randn(1, T, generator=generator, dtype=torch.float64)
        terminated, truncated = torch.zeros(1, T, dtype=torch.bool), torch.zeros(1, T, dtype=torch.bool)
        counted = torch.ones(1, T, dtype=torch.bool)
        t = int(torch.randint(3, (1,), generator=generator)) - 1  # a stretch may begin with a dummy step
        if t == 0:
            counted[0, 0] = False
        while True:  # ends, each followed by a dummy step; the last one sometimes by padding
            t += 1 + int(torch.randint(4, (1,), generator=generator))
            if t >= T:
                break
            (terminated if bool(torch.rand(1, generator=generator) < 0.5) else truncated)[0, t] = True
            if t + 1 < T:
                counted[0, t + 1] = False
            if bool(torch.rand(1, generator=generator) < 0.1):
                counted[0, t + 1 :] = False
                break
            t += 1
        reward = torch.where(counted, reward, 0.0)
        ended = terminated | truncated
        go = returns.discounted_return(reward, torch.zeros(1, T + 1, dtype=torch.float64), terminated, truncated, gamma)
        whole = returns.episode_return(go, ended, counted)[0].tolist()
        expected = whole_returns_by_loop(reward[0].tolist(), ended[0].tolist(), counted[0].tolist(), gamma)
        for got, wanted in zip(whole, expected, strict=True):
            assert wanted is None or got == pytest.approx(wanted, abs=1e-12)
        last = [wanted for wanted in expected if wanted is not None]
        seen += ended.sum().item() > 1
        assert whole[-1] == pytest.approx(last[-1], abs=1e-12)
    assert seen > 10


def test_return_of_ones_own_episode_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="counted: expected a bool tensor"):
        returns.episode_return(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2))
