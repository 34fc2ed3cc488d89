"""The sampling loop with scripted, known and recurrent policies on tokens and on a vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from torch import Tensor, nn

from seqrl.distributions import Categorical
from seqrl.functional import returns
from seqrl.policies.networks import MLP, RecurrentTorso, restarts
from seqrl.rollout import play, refuse_forced_steps, unroll
from seqrl.sources import TokenSource, VectorEnvSource
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

BEGIN, END = 1, 2


class Scripted(nn.Module):
    """Says a table's rows one column at a time; remembers what it saw."""

    def __init__(self, table: list[list[int]]) -> None:
        super().__init__()
        self.table = torch.tensor(table)
        self.seen: list[list[int]] = []

    def initial_state(self, context: Tree) -> Tree:
        return {"time": torch.zeros(len(self.table), dtype=torch.long)}

    def act(self, obs: Tensor, state: Any, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        self.seen.append(obs.tolist())
        time = state["time"].max()
        action = self.table[:, min(int(time), self.table.shape[1] - 1)]
        return Step(action, -action.float(), 10.0 + obs, {"time": torch.full_like(state["time"], int(time) + 1)})


def test_tokens_with_a_scripted_policy() -> None:
    policy = Scripted([[5, 2, 9, 9], [2, 9, 9, 9], [6, 7, 2, 9]])
    group = torch.tensor([4, 4, 8])
    trajectory, _ = unroll(policy, TokenSource(3, begin=BEGIN, end=END, max_tokens=6), max_steps=6, group=group)
    assert trajectory.num_steps == 3  # stops when the last row has ended
    assert trajectory.action[2].tolist() == [6, 7, 2]
    assert trajectory.mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert trajectory.terminated.tolist() == [[False, True, False], [True, False, False], [False, False, True]]
    assert not trajectory.truncated.any() and not trajectory.reward.any()
    assert torch.equal(trajectory.obs[:, 0], torch.full((3,), BEGIN))  # type: ignore[index, call-overload]
    assert torch.equal(trajectory.obs[:, 1:], trajectory.action)  # type: ignore[index, call-overload]
    assert torch.equal(trajectory.logp, -trajectory.action.float())
    assert torch.equal(trajectory.value, 10.0 + trajectory.obs)  # type: ignore[operator]
    assert trajectory.group is group


def test_the_longest_row_terminates_at_the_maximum_length() -> None:
    trajectory, _ = unroll(Scripted([[5, 6, 7, 8]]), TokenSource(1, begin=BEGIN, end=END, max_tokens=3), max_steps=99)
    assert trajectory.terminated.tolist() == [[False, False, True]] and trajectory.mask.all()


def test_forced_tokens_are_taken_seen_and_not_counted() -> None:
    policy = Scripted([[5, 5, 6, 2], [5, 5, 6, 2], [5, 5, 6, 2]])
    forced = torch.tensor([[30, 31], [40, END], [END, 0]])
    trajectory, _ = unroll(policy, TokenSource(3, begin=BEGIN, end=END, max_tokens=6), max_steps=6, forced=forced, bootstrap=False)
    assert trajectory.action[0].tolist() == [30, 31, 6, 2]
    assert torch.equal(trajectory.action[:, :2], forced)
    assert trajectory.mask.tolist() == [[False, False, True, True], [False] * 4, [False] * 4]
    assert trajectory.terminated.int().argmax(dim=1).tolist() == [3, 1, 0] and trajectory.terminated.sum() == 3
    assert policy.seen[:3] == [[1, 1, 1], [30, 40, END], [31, END, 0]]
    assert len(policy.seen) == 4 and not trajectory.value[:, -1].any()  # no extra act without a bootstrap


def test_at_least_one_step() -> None:
    with pytest.raises(ValueError, match="max_steps: expected at least 1"):
        unroll(Scripted([[5]]), TokenSource(1, begin=BEGIN, end=END, max_tokens=3), max_steps=0)


def test_playing_sums_what_unrolling_keeps() -> None:
    class Paid(TokenSource):
        """Pays a token's number to rows that go on."""

        def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            paid = action * self.active.float()
            seen, _, terminated, truncated = super().step(action)
            return seen, paid, terminated, truncated

    policy, times = Scripted([[5, 2, 9, 9], [2, 9, 9, 9], [6, 7, 2, 9]]), []
    total, length = play(policy, Paid(3, begin=BEGIN, end=END, max_tokens=6), max_steps=9, before_step=times.append)
    assert total.tolist() == [7.0, 2.0, 15.0] and total.dtype == torch.float64
    assert length.tolist() == [2, 1, 3] and times == [0, 1, 2]
    total, length = play(policy, Paid(3, begin=BEGIN, end=END, max_tokens=6), max_steps=2)
    assert total.tolist() == [7.0, 2.0, 13.0] and length.tolist() == [2, 1, 2]


def test_forced_steps_are_refused() -> None:
    refuse_forced_steps(0)
    with pytest.raises(ValueError, match="expected 0 where a task has no demonstrations, got 2; set imitation.forced_steps to 0"):
        refuse_forced_steps(2)


class Payout(gymnasium.Env[np.ndarray, int]):
    """Pays 1 a step; ends after `length` steps in the way named; shows [time left, whether the end is a termination]."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, length: int, end: str) -> None:
        self.length, self.end, self.left = length, end, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.left = self.length
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        over = self.left == 0
        return self._seen(), 1.0, over and self.end == "terminated", over and self.end == "truncated", {}

    def _seen(self) -> np.ndarray:
        return np.array([self.left, self.end == "terminated"], dtype=np.float32)


def payout(*envs: tuple[int, str]) -> VectorEnvSource:
    return VectorEnvSource(SyncVectorEnv([lambda env=env: Payout(*env) for env in envs]), seed=0)


class KnowsTheValue(nn.Module):
    """Its value is exact at a discount of 0.9: a truncation hides rewards that would go on for ever."""

    def initial_state(self, context: Tree) -> Tree:
        return None

    def act(self, obs: Tensor, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        left, terminates = obs.unbind(dim=1)
        finite = 10.0 * (1.0 - 0.9**left)
        # What it says of an observation that nothing follows must not matter.
        value = torch.where(terminates.bool(), torch.where(left == 0, 1e6, finite), 10.0)
        return Step(torch.zeros(len(obs), dtype=torch.long), torch.zeros(len(obs)), value)


@pytest.mark.parametrize("max_steps", [1, 2, 3, 4, 10])
def test_truncation_bootstraps_and_termination_does_not(max_steps: int) -> None:
    source = payout((2, "terminated"), (3, "truncated"), (5, "terminated"), (1, "truncated"))
    for _ in range(4):
        trajectory, _ = unroll(KnowsTheValue(), source, max_steps=max_steps)
        case = (trajectory.reward, trajectory.value, trajectory.terminated, trajectory.truncated)
        advantage = returns.gae(*case, 0.9, 0.95)
        assert advantage[trajectory.mask].abs().sum() < 1e-4
        surprise = (returns.discounted_return(*case, 0.9) - trajectory.value[:, :-1])[trajectory.mask]
        assert surprise.abs().sum() < 1e-4


def test_taking_a_truncation_for_a_termination_would_show() -> None:
    trajectory, _ = unroll(KnowsTheValue(), payout((3, "truncated")), max_steps=4)
    wrong = returns.gae(trajectory.reward, trajectory.value, trajectory.truncated, trajectory.terminated, 0.9, 0.95)
    assert wrong[0, 2].item() == pytest.approx(-9.0)


class Remembering(nn.Module):
    """A recurrent categorical policy with a critic."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.torso = RecurrentTorso(kind, 2, 5, generator=generator)
        self.head = MLP(5, [], 4, generator=generator)
        self.num_rows = 0

    def initial_state(self, context: Tree) -> Tree:
        return self.torso.initial_state(self.num_rows)

    def act(self, obs: Tensor, state: Any, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        features, state = self.torso(obs[:, None], state)
        out = self.head(features[:, 0])
        logits, value = out[:, :3], out[:, 3]
        action = logits.argmax(-1) if greedy else Categorical(logits).sample(generator)
        return Step(action, Categorical(logits).logp(action), value, state)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        features, _ = self.torso(trajectory.obs[:, :-1], trajectory.state0, restarts(trajectory.mask))  # type: ignore[index, call-overload]
        out = self.head(features)
        logits = out[..., :3]
        return Evaluation(Categorical(logits).logp(trajectory.action), Categorical(logits).entropy(), out[..., 3])


ENVS = ((2, "terminated"), (3, "truncated"), (5, "terminated"))


def remembering(kind: str) -> Remembering:
    policy = Remembering(kind)
    policy.num_rows = len(ENVS)
    return policy


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_policy_says_again_what_it_said(kind: str) -> None:
    policy, source, state = remembering(kind), payout(*ENVS), None
    generator = torch.Generator().manual_seed(1)
    for num_steps in (9, 1, 2, 6):  # the pieces begin before, on and after dummy steps
        trajectory, state = unroll(policy, source, max_steps=num_steps, state=state, generator=generator)
        again = policy(trajectory)
        assert torch.allclose(again.logp, trajectory.logp, atol=1e-6)
        assert torch.allclose(again.value, trajectory.value[:, :-1], atol=1e-6)
        swapped = trajectory.select_rows(torch.tensor([2, 0]))
        assert torch.allclose(policy(swapped).logp, trajectory.logp[[2, 0]], atol=1e-6)


def test_each_episode_starts_from_an_empty_memory() -> None:
    policy = remembering("lstm")
    trajectory, _ = unroll(policy, payout(*ENVS), max_steps=9, greedy=True)
    first, second = trajectory.value[0, :2], trajectory.value[0, 3:5]  # row 0: steps 0, 1, dummy, 3, 4, dummy, ...
    assert torch.allclose(first, second, atol=1e-6)
    # The value that a truncation bootstraps from still remembers its episode; an empty memory would say something else.
    features, _ = policy.torso(trajectory.obs[1:2, 3:4], policy.torso.initial_state(1))  # type: ignore[index, call-overload]
    assert (policy.head(features)[0, 0, 3] - trajectory.value[1, 3]).abs() > 1e-4


def test_two_short_rollouts_are_one_long_one() -> None:
    whole, _ = unroll(remembering("gru"), payout(*ENVS), max_steps=8, generator=torch.Generator().manual_seed(3))
    policy, source, generator = remembering("gru"), payout(*ENVS), torch.Generator().manual_seed(3)
    first, state = unroll(policy, source, max_steps=3, generator=generator)
    second, _ = unroll(policy, source, max_steps=5, state=state, generator=generator)
    for name in ("action", "logp", "reward", "terminated", "truncated", "mask"):
        assert torch.equal(torch.cat([getattr(first, name), getattr(second, name)], dim=1), getattr(whole, name)), name
    assert torch.allclose(torch.cat([first.value[:, :-1], second.value], dim=1), whole.value)


def test_sampling_leaves_the_global_generator_alone() -> None:
    policy, source = remembering("gru"), payout(*ENVS)
    state = torch.get_rng_state()
    unroll(policy, source, max_steps=3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)


class Postponing(Remembering):
    """Says nothing but the action while acting, and the rest afterwards."""

    def act(self, obs: Tensor, state: Any = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        step = super().act(obs, self.torso.initial_state(self.num_rows), greedy=greedy, generator=generator)
        return Step(step.action, None, None)

    def initial_state(self, context: Tree) -> Tree:
        return None

    def annotate(self, trajectory: Trajectory) -> Trajectory:
        return trajectory.replace(logp=trajectory.logp - 1.5, value=trajectory.value + torch.arange(trajectory.num_steps + 1))


def test_a_policy_may_say_logp_and_value_afterwards() -> None:
    policy = Postponing("gru")
    policy.num_rows = len(ENVS)
    trajectory, state = unroll(policy, payout(*ENVS), max_steps=4, generator=torch.Generator().manual_seed(1))
    assert state is None and trajectory.state0 is None
    assert bool((trajectory.logp == -1.5).all()) and trajectory.value.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]] * 3
    policy.annotate = None  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match=r"Postponing: its steps have no logp or value, so it needs annotate"):
        unroll(policy, payout(*ENVS), max_steps=4)
