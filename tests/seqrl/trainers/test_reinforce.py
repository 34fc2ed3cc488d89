from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn
from toy_tokens import TokenPolicy, TokenTask, by_hand, gradient_of

from seqrl import Reinforce, ReinforceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.05)


def trainer_of(policy: TokenPolicy | None = None, **settings: Any) -> Reinforce:
    policy = TokenPolicy() if policy is None else policy
    return ReinforceConfig(optimiser=FAST, **settings).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize("baseline", ["none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy"])
def test_learns_the_toy_task(baseline: Any) -> None:
    trainer, task = trainer_of(baseline=baseline), TokenTask()
    for _ in range(25):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6  # 0.15 at first


REWARD_OF = {(a, b): 0.7 * a * a - 1.3 * b + 0.5 * a * b for a in range(3) for b in range(3)}


def exact_gradient(policy: TokenPolicy, num_steps: int = 2) -> torch.Tensor:
    """Gradient of the expected reward over all nine rows of two tokens, for each step."""
    policy.zero_grad()
    expected = torch.zeros((), dtype=torch.float64)
    for (first, second), reward in REWARD_OF.items():
        logp = policy.logp_and_value(torch.tensor([0, first]))[0]
        expected = expected + (logp[0, first] + logp[1, second]).exp() * reward
    gradients = torch.autograd.grad(expected, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients]) / num_steps


@pytest.mark.parametrize(("baseline", "num_rows"), [("none", 1), ("leave_one_out", 2)])
def test_expected_gradient_is_the_enumerated_one(baseline: Any, num_rows: int) -> None:
    policy = TokenPolicy(num_tokens=3, width=2, seed=3).double()
    trainer = trainer_of(policy, baseline=baseline)
    every_logp = policy.logp_and_value(torch.arange(3))[0].detach()
    mean = torch.zeros(sum(p.numel() for p in policy.parameters()), dtype=torch.float64)
    for rows in itertools.product(REWARD_OF, repeat=num_rows):
        chance = math.prod(float((every_logp[0, a] + every_logp[a, b]).exp()) for a, b in rows)
        trajectory = by_hand([list(row) for row in rows], [[0.0, REWARD_OF[row]] for row in rows])
        mean += chance * gradient_of(trainer, trajectory)
    torch.testing.assert_close(-mean, exact_gradient(policy), rtol=0, atol=1e-12)


def weighted_logp_gradient(policy: TokenPolicy, trajectory: Trajectory, weights: list[list[float]], divisor: int) -> torch.Tensor:
    policy.zero_grad()
    logp = policy(trajectory).logp
    loss = -(logp * torch.tensor(weights, dtype=logp.dtype)).sum() / divisor
    gradients = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


# Rewards 1, 2, 4 and, ending earlier, 3, 5; the sixth step does not count. Advantages below are worked out on paper.
ACTIONS, REWARDS = [[2, 4, 1], [5, 1, 0]], [[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]]


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        ({"baseline": "none"}, [[7, 6, 4], [8, 5, 0]]),
        ({"baseline": "none", "reward_to_go": False}, [[7, 7, 7], [8, 8, 0]]),
        ({"baseline": "none", "gamma": 0.5}, [[3, 4, 4], [5.5, 5, 0]]),
        ({"baseline": "moving_average"}, [[1, 0, -2], [2, -1, 0]]),  # the mean of 7, 6, 4, 8, 5 is 6
        ({"baseline": "leave_one_out"}, [[-1, 1, -1], [1, -1, 0]]),  # the second row's last return to go is 5
        ({"baseline": "leave_one_out", "reward_to_go": False}, [[-1, -1, -1], [1, 1, 0]]),
        ({"baseline": "greedy"}, [[5, 5, 5], [-1, -1, 0]]),  # the baselines are 2 and 9
        ({"baseline": "greedy", "reward_to_go": False}, [[5, 5, 5], [-1, -1, 0]]),
        ({"baseline": "critic"}, [[6.5, 5, 2], [6, 4, 0]]),
        ({"baseline": "none", "whiten": True}, [[math.sqrt(0.5), 0, -math.sqrt(2)], [math.sqrt(2), -math.sqrt(0.5), 0]]),
        ({"baseline": "group_norm"}, [[-1 / 1.0002] * 3, [1 / 1.0002] * 2 + [0]]),  # scores 7 and 8: deviation 0.5, epsilon 1e-4
    ],
)
def test_gradient_is_that_of_the_advantages_by_hand(settings: dict[str, Any], advantages: list[list[float]]) -> None:
    policy = TokenPolicy().double()
    value = torch.tensor([[0.5, 1.0, 2.0, 9.0], [2.0, 1.0, 9.0, 9.0]], dtype=torch.float64)
    baseline = torch.tensor([2.0, 9.0], dtype=torch.float64)
    trajectory = by_hand(ACTIONS, REWARDS, lengths=[3, 2], group=torch.tensor([7, 7]), value=value, baseline=baseline)
    gradient = gradient_of(trainer_of(policy, vf_coef=0.0, **settings), trajectory)
    torch.testing.assert_close(gradient, weighted_logp_gradient(policy, trajectory, advantages, divisor=5), rtol=0, atol=1e-7)


def test_moving_average_goes_on_from_batch_to_batch() -> None:
    trainer = trainer_of(TokenPolicy().double(), baseline="moving_average", average_decay=0.75)
    for score, mean_advantage, average in [(8.0, 0.0, 8.0), (4.0, -4.0, 7.0), (7.0, 0.0, 7.0), (11.0, 4.0, 8.0)]:
        stats = trainer.update(by_hand([[1], [1]], [[score], [score]]))
        assert stats["advantage/mean"] == pytest.approx(mean_advantage)
        assert trainer.average is not None and float(trainer.average) == pytest.approx(average)


def test_moving_average_survives_a_batch_in_which_every_step_is_forced() -> None:
    mix = ImitationConfig(weight=1.0, forced_steps=5, forced_updates=1, forced_decrease=5)
    trainer, task = trainer_of(baseline="moving_average", imitation=mix), TokenTask()
    assert "reward/mean" not in trainer.update(trainer.collect(TokenTask(max_tokens=4))) and trainer.average is None
    assert "reward/mean" in trainer.update(trainer.collect(task)) and trainer.average is not None


def test_critic_learns_the_returns() -> None:
    trainer = trainer_of(baseline="critic", vf_coef=1.0)
    # What the next reward is depends on the last token alone.
    rows = by_hand([[2, 1], [4, 1], [5, 1], [3, 1]], [[0, 4.0], [0, -1.0], [0, 2.0], [0, 0.5]])
    rows = rows.replace(reward=rows.reward.float(), logp=rows.logp.float(), value=rows.value.float())
    explained = []
    for _ in range(60):
        value = trainer.policy(rows).value.detach()
        explained.append(trainer.update(rows.replace(value=torch.cat([value, torch.zeros(4, 1)], dim=1)))["critic/explained_variance"])
    # The second step's return follows from the token before it; the first step's, equally spread, from nothing: half is the most.
    assert explained[0] < 0.1 and explained[-1] == pytest.approx(0.5, abs=0.03)


def test_entropy_bonus_raises_entropy() -> None:
    entropies = {}
    for weight in (0.0, 1.0):
        trainer, task = trainer_of(ent_coef=weight), TokenTask()
        for _ in range(10):
            entropies[weight] = trainer.update(trainer.collect(task))["policy/entropy"]
    assert entropies[1.0] > entropies[0.0] + 0.3
    assert entropies[1.0] > 0.97 * math.log(6)


def test_sampling_has_no_dropout_and_the_update_only_when_asked() -> None:
    for dropout in (False, True):
        policy = TokenPolicy(dropout=0.5)
        trainer = trainer_of(policy, dropout=dropout)
        for _ in range(2):
            trainer.update(trainer.collect(TokenTask()))
            assert policy.training is dropout
        assert policy.modes_of_sampling == {False}


@pytest.mark.parametrize("settings", [{"baseline": "leave_one_ot"}, {"num_samples": 0}, {"gamma": 1.5}])
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ReinforceConfig(**settings)


def test_a_policy_without_a_critic_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="baseline critic: expected a policy with a critic.*leave_one_out"):
        ReinforceConfig(baseline="critic").build(nn.Linear(2, 2), seed=0, num_updates=1)
    ReinforceConfig(baseline="leave_one_out").build(nn.Linear(2, 2), seed=0, num_updates=1)
