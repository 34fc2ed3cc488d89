from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from seqrl.replay.buffer import Replay
from seqrl.trajectory import Trajectory

ROWS = 2


class Counting:
    """Environments whose observation tells what it is: 1000 x row + time, and whose episodes end at set times.

    The action and the reward of time t are t as well; after an end comes a dummy step, as in gymnasium.
    """

    def __init__(self, ends: dict[tuple[int, int], str] | None = None, first: int = 0, dtype: torch.dtype = torch.long) -> None:
        self.time, self.ends, self.dtype = first, ends or {}, dtype

    def rollout(self, T: int, state0: Any = None) -> Trajectory:
        time = torch.arange(self.time, self.time + T).expand(ROWS, T)
        seen = torch.arange(self.time, self.time + T + 1).expand(ROWS, T + 1)
        flag = {"terminated": torch.zeros(ROWS, T, dtype=torch.bool), "truncated": torch.zeros(ROWS, T, dtype=torch.bool)}
        mask = torch.ones(ROWS, T, dtype=torch.bool)
        for (row, t), kind in self.ends.items():
            if self.time <= t < self.time + T:
                flag[kind][row, t - self.time] = True
            if self.time <= t + 1 < self.time + T:
                mask[row, t + 1 - self.time] = False
        obs = (seen + 1000 * torch.arange(ROWS).unsqueeze(1)).unsqueeze(-1).to(self.dtype)
        self.time += T
        zero = torch.zeros(ROWS, T + 1)
        return Trajectory(time.clone(), zero[:, 1:], zero, time.float() * mask, mask=mask, obs=obs, state0=state0, **flag)


def filled(replay: Replay, world: Counting, T: int, rollouts: int) -> Replay:
    for _ in range(rollouts):
        replay.add(world.rollout(T))
    return replay


def check_transitions(
    replay: Replay, world: Counting, oldest: int, newest: int, gamma: float, n: int, number: int = 4000
) -> Counter[tuple[int, int]]:
    """Compare many drawn transitions with what the world says; give how often each was drawn."""
    drawn = replay.draw(number)
    assert drawn.trajectory.mask.all() and drawn.trajectory.num_steps == 1
    counts: Counter[tuple[int, int]] = Counter()
    for i in range(number):
        (now, then), action = drawn.trajectory.obs[i, :, 0].tolist(), int(drawn.trajectory.action[i, 0])  # type: ignore[index,call-overload]
        row, t = divmod(now, 1000)
        assert action == t and oldest <= t <= newest
        total, factor, end = 0.0, 1.0, t
        while True:
            total, factor = total + factor * end, factor * gamma
            kind = world.ends.get((row, end))
            factor = 0.0 if kind == "terminated" else factor
            end += 1
            if kind or end == t + n or end > newest:
                break
        assert then == 1000 * row + end
        assert float(drawn.n_step_return[i, 0]) == pytest.approx(total) and float(drawn.bootstrap_discount[i, 0]) == pytest.approx(factor)
        counts[row, t] += 1
    return counts


@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_every_step_is_drawn_as_it_was(n: int, prioritised: bool) -> None:
    world = Counting({(0, 3): "terminated", (1, 9): "truncated", (1, 14): "terminated", (0, 14): "truncated"})
    replay = Replay(100, n=n, gamma=0.9, prioritised=prioritised)
    for T in (5, 5, 5, 4):  # the last step of a rollout ends row 0 and row 1
        replay.add(world.rollout(T))
    counts = check_transitions(replay, world, 0, 18, 0.9, n)
    dummies = {(0, 4), (1, 10), (1, 15), (0, 15)}
    assert set(counts) == {(row, t) for row in range(2) for t in range(19)} - dummies


@pytest.mark.parametrize("prioritised", [False, True])
def test_ring_forgets_the_oldest(prioritised: bool) -> None:
    world = Counting({(0, t): "terminated" for t in range(6, 400, 7)})
    replay = filled(Replay(2 * 11, n=2, gamma=0.5, prioritised=prioritised), world, 4, 9)
    for _ in range(12):  # around the ring several times
        replay.add(world.rollout(4))
        newest = world.time - 1
        counts = check_transitions(replay, world, newest - 10, newest, 0.5, 2, number=300)
        dummies = {(0, t + 1) for row, t in world.ends}
        assert set(counts) == {(row, t) for row in range(2) for t in range(newest - 10, newest + 1)} - dummies
    assert replay.num_steps == 22


def test_draws_evenly() -> None:
    world = Counting({(0, 3): "terminated"})
    counts = check_transitions(filled(Replay(60), world, 10, 1), world, 0, 9, 0.99, 1)
    expected = 4000 / 19
    assert len(counts) == 19
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 42.3  # 0.999 quantile, 18 degrees of freedom


def test_draws_by_priority_and_weighs_against_it() -> None:
    world = Counting()
    replay = filled(Replay(60, prioritised=True, priority_exponent=0.5), world, 10, 1)
    drawn = replay.draw(4000)
    error = drawn.trajectory.action.float() ** 2  # the priority is t + a little
    replay.set_errors(drawn, -error)
    drawn = replay.draw(40_000, importance_exponent=0.7)
    counts = drawn.trajectory.action.flatten().bincount(minlength=10).double()
    share = torch.arange(10).double()
    share[0] = 1e-3
    expected = 40_000 * share / share.sum()
    assert float(((counts - expected)[1:] ** 2 / expected[1:]).sum()) < 27.9  # 0.999 quantile, 9 degrees of freedom
    by_time = {int(t): float(w) for t, w in zip(drawn.trajectory.action[:, 0], drawn.weight[:, 0], strict=True)}
    assert by_time[2] / by_time[8] == pytest.approx(4.0**0.7, rel=1e-3)
    assert float(drawn.weight.max()) == 1.0
    # What is new has the largest priority so far, that of an error of 81.
    replay.add(world.rollout(1))
    assert replay.draw(4000).trajectory.action.eq(10).float().mean() == pytest.approx(9 / 54, abs=0.02)


def test_where_a_rollout_does_not_go_on_rows_are_cut() -> None:
    world = Counting({(0, 4): "terminated"})
    replay = filled(Replay(100, n=4, gamma=1.0), world, 5, 1)
    world.time = 100  # the environments could not be put back
    replay.add(world.rollout(5))
    drawn = replay.draw(3000)
    pairs = {tuple(pair) for pair in drawn.trajectory.obs[..., 0].tolist()}  # type: ignore[index,call-overload]
    assert {pair for pair in pairs if pair[0] in (3, 4, 1003, 1004)} == {(3, 5), (4, 5), (1003, 1005), (1004, 1005)}
    assert {int(t) for t in drawn.trajectory.action} == {*range(5), *range(100, 105)}
    ends = {
        int(t): float(f)
        for t, f, o in zip(drawn.trajectory.action, drawn.bootstrap_discount, drawn.trajectory.obs[:, 0, 0], strict=True)
        if o < 1000
    }  # type: ignore[index,call-overload]
    assert ends[4] == 0.0 and ends[104] == 1.0


@pytest.mark.parametrize("prioritised", [False, True])
def test_windows_are_stretches_of_what_was(prioritised: bool) -> None:
    world = Counting({(0, 3): "terminated", (1, 12): "truncated"})
    replay = filled(Replay(2 * 17, n=2, gamma=0.9, window=6, prioritised=prioritised), world, 5, 5)
    drawn = replay.draw(1000)
    starts = set()
    for i in range(1000):
        seen = drawn.trajectory.obs[i, :, 0].tolist()  # type: ignore[index,call-overload]
        row, t = divmod(seen[0], 1000)
        assert seen == list(range(seen[0], seen[0] + 7))
        assert drawn.trajectory.action[i].tolist() == list(range(t, t + 6))
        assert drawn.trajectory.mask[i].tolist() == [(row, s - 1) not in world.ends for s in range(t, t + 6)]
        starts.add((row, t))
    assert starts == {(row, t) for row in range(2) for t in range(8, 20)}
    assert drawn.trajectory.state0 is None
    assert drawn.bootstrap_index[0].tolist() == [2, 3, 4, 5, 6, 6] or bool(drawn.trajectory.truncated[0].any())


@pytest.mark.parametrize("prioritised", [False, True])
def test_stored_states_come_with_their_windows(prioritised: bool) -> None:
    world = Counting()
    replay = Replay(2 * 17, window=6, stored_state=True, prioritised=prioritised)
    for _ in range(9):
        state = {"hidden": torch.tensor([[0.0], [1000.0]]) + world.time}
        replay.add(world.rollout(5, state))
    drawn = replay.draw(200)
    first = drawn.trajectory.obs[:, 0, 0]  # type: ignore[index,call-overload]
    assert torch.equal(drawn.trajectory.state0["hidden"][:, 0], first.float())  # type: ignore[index,call-overload]
    assert {int(t) % 1000 for t in first} == {30, 35}  # 28 is the oldest step, and a window has to end by 44


def test_priority_of_a_window_mixes_the_largest_and_the_mean() -> None:
    world = Counting({(0, 2): "terminated"})
    replay = filled(Replay(100, window=4, prioritised=True, priority_exponent=1.0), world, 4, 1)
    drawn = replay.draw(64)
    rows = drawn.leaf > 50
    error = torch.tensor([1.0, 4.0, 1.0, 3.0]).expand(64, 4).masked_fill(~drawn.trajectory.mask, 0.0)
    replay.set_errors(drawn, error)
    again = replay.draw(64, importance_exponent=1.0)
    first, second = (float(again.weight[(again.leaf > 50) == row].mean()) for row in (False, True))
    # Row 0 has a dummy step: 0.9 * 4 + 0.1 * 6 / 3 against 0.9 * 4 + 0.1 * 9 / 4.
    assert bool(rows.any()) and second / first == pytest.approx((3.6 + 0.2) / (3.6 + 0.225), rel=1e-4)


def test_observations_keep_their_type_and_structure() -> None:
    replay, world = Replay(100), Counting(dtype=torch.uint8)
    rollout = world.rollout(5)
    replay.add(rollout.replace(obs={"observation": rollout.obs, "action_mask": torch.ones(2, 6, 3, dtype=torch.bool)}))
    obs = replay.draw(7).trajectory.obs
    assert obs["observation"].dtype == torch.uint8 and obs["observation"].shape == (7, 2, 1)  # type: ignore[index,call-overload,union-attr]
    assert obs["action_mask"].shape == (7, 2, 3)  # type: ignore[index,call-overload,union-attr]


@pytest.mark.parametrize("settings", [{}, {"prioritised": True, "n": 3}, {"window": 3, "stored_state": True, "prioritised": True}])
@pytest.mark.parametrize("rollouts", [2, 7])
def test_resumes_exactly(settings: dict[str, Any], rollouts: int) -> None:
    def one(replay: Replay, world: Counting) -> list[torch.Tensor]:
        replay.add(world.rollout(4, {"hidden": torch.full((2, 1), world.time)}))
        drawn = replay.draw(16, importance_exponent=0.5)
        replay.set_errors(drawn, drawn.n_step_return + 1)
        return [drawn.trajectory.obs, drawn.n_step_return, drawn.bootstrap_discount, drawn.weight]  # type: ignore[list-item]

    world, whole = Counting({(0, t): "terminated" for t in range(5, 90, 9)}), Replay(2 * 9, seed=3, **settings)
    for _ in range(rollouts):
        one(whole, world)
    state = whole.state_dict()
    resumed, other = Replay(2 * 9, **settings), Counting(world.ends, world.time)
    one(whole, Counting(world.ends, world.time))  # what was given is a copy
    whole.load_state_dict(state)
    resumed.load_state_dict(state)
    for _ in range(6):
        for a, b in zip(one(whole, world), one(resumed, other), strict=True):
            assert torch.equal(a, b)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity, window"):
        Replay(0)
    with pytest.raises(ValueError, match="priority_exponent"):
        Replay(5, priority_exponent=2.0)
    with pytest.raises(ValueError, match="expected steps to draw from"):
        Replay(5).draw(1)
    with pytest.raises(ValueError, match="at most 4 steps, got 2 rows of 5"):
        Replay(8).add(Counting().rollout(5))
    with pytest.raises(ValueError, match="expected a recurrent state"):
        Replay(80, window=2, stored_state=True).add(Counting().rollout(5))
    with pytest.raises(ValueError, match="obs: expected observations"):
        Replay(80).add(Counting().rollout(5).replace(obs=None))
    replay = filled(Replay(80, window=9), Counting(), 5, 1)
    assert not replay.can_draw
    replay.clear()
    assert replay.num_steps == 0
