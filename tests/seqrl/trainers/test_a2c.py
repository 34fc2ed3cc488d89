from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from toy_tokens import TokenPolicy, TokenTask, by_hand, gradient_of

from seqrl import PPOConfig, ReinforceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.a2c import A2C, A2CConfig

FAST = OptimiserConfig(learning_rate=0.05)


def trainer_of(policy: TokenPolicy | None = None, **settings: Any) -> A2C:
    policy = TokenPolicy() if policy is None else policy
    return A2CConfig(**({"optimiser": FAST} | settings)).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize("advantage", ["n_step", "td_lambda", "gae"])
def test_learns_the_toy_task(advantage: Any) -> None:
    trainer, task = trainer_of(advantage=advantage, num_samples=5, gamma=1.0), TokenTask()
    for _ in range(20):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6  # 0.15 at first


# Discount 0.5, rewards 2, 4, 8, values 1, 3, 5, 7. The first row is cut off after its third step, so that 7 is its bootstrap;
# the second terminates after its second. What follows is worked out on paper.
VALUE, REWARD = [[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0]], [[2.0, 4.0, 8.0], [2.0, 4.0, 0.0]]


@pytest.mark.parametrize(
    ("settings", "targets", "advantages"),
    [
        # r + V'/2: 3.5, 6.5, 11.5; where it terminates, 3.5 and 4
        ({"n_steps": 1}, [[3.5, 6.5, 11.5], [3.5, 4, 0]], [[2.5, 3.5, 6.5], [2.5, 1, 0]]),
        # two rewards: 2 + 4/2 + 5/4, 4 + 8/2 + 7/4
        ({"n_steps": 2}, [[5.25, 9.75, 11.5], [4, 4, 0]], [[4.25, 6.75, 6.5], [3, 1, 0]]),
        # all: 2 + 9.75/2, 4 + 11.5/2, 11.5
        ({"n_steps": 0}, [[6.875, 9.75, 11.5], [4, 4, 0]], [[5.875, 6.75, 6.5], [3, 1, 0]]),
        # the temporal differences 2.5, 3.5, 6.5, each with a quarter of what follows: 3.5 + 6.5/4, 2.5 + 5.125/4
        (
            {"advantage": "td_lambda", "gae_lambda": 0.5},
            [[4.78125, 8.125, 11.5], [3.75, 4, 0]],
            [[3.78125, 5.125, 6.5], [2.75, 1, 0]],
        ),
        (
            {"advantage": "gae", "gae_lambda": 0.5},
            [[6.875, 9.75, 11.5], [4, 4, 0]],
            [[3.78125, 5.125, 6.5], [2.75, 1, 0]],
        ),
    ],
    ids=["one_step", "two_steps", "all_steps", "td_lambda", "gae"],
)
def test_gradient_is_that_of_targets_and_advantages_by_hand(
    settings: dict[str, Any], targets: list[list[float]], advantages: list[list[float]]
) -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2, 4, 1], [5, 1, 0]], REWARD, lengths=[3, 2], value=torch.tensor(VALUE, dtype=torch.float64))
    rows = rows.replace(terminated=rows.terminated & (torch.arange(2) == 1).unsqueeze(1))
    evaluation = policy(rows)
    advantage, target = (torch.tensor(numbers, dtype=torch.float64) for numbers in (advantages, targets))
    error = torch.where(rows.mask, evaluation.value - target, 0.0)
    loss = (-(evaluation.logp * advantage).sum() + 0.7 * 0.5 * error.square().sum()) / 5
    parts = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    trainer = trainer_of(policy, gamma=0.5, vf_coef=0.7, ent_coef=0.0, **settings)
    torch.testing.assert_close(gradient_of(trainer, rows), torch.cat([part.flatten() for part in parts]), rtol=0, atol=1e-7)


def test_entropy_bonus_adds_its_gradient() -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2, 4], [5, 1]], [[1.0, 2.0], [0.0, 3.0]])
    without, with_bonus = (gradient_of(trainer_of(policy, ent_coef=weight), rows) for weight in (0.0, 0.3))
    bonus = -0.3 * policy(rows).entropy.mean()
    parts = torch.autograd.grad(bonus, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    expected = torch.cat([part.flatten() for part in parts])
    assert expected.norm() > 1e-3
    torch.testing.assert_close(with_bonus - without, expected, rtol=0, atol=1e-7)


def test_the_whole_stretch_is_reinforces_critic_and_ppos_first_pass() -> None:
    policy = TokenPolicy()
    rows = TokenTask().rollout(policy, num_samples=5, generator=torch.Generator().manual_seed(1))
    ours = gradient_of(trainer_of(policy, gamma=0.9, ent_coef=0.0), rows)
    reinforce = gradient_of(ReinforceConfig(baseline="critic", gamma=0.9).build(policy, seed=0, num_updates=1), rows)
    torch.testing.assert_close(ours, reinforce, rtol=0, atol=1e-7)
    one_pass = {"epochs": 1, "minibatches": 1, "normalise_advantage": False}
    ppo = gradient_of(PPOConfig(gamma=0.9, gae_lambda=0.8, **one_pass).build(policy, seed=0, num_updates=1), rows)  # type: ignore[arg-type]
    ours = gradient_of(trainer_of(policy, advantage="td_lambda", gamma=0.9, gae_lambda=0.8, ent_coef=0.0), rows)
    torch.testing.assert_close(ours, ppo, rtol=0, atol=1e-7)


def test_normalised_advantages_have_mean_0_and_deviation_1() -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2], [4], [1]], [[5.0], [7.0], [9.0]])  # advantages 5, 7, 9 become -s, 0, s with s = sqrt(3/2)
    gradient = gradient_of(trainer_of(policy, normalise_advantage=True, ent_coef=0.0, vf_coef=0.0), rows)
    loss = -(policy(rows).logp[:, 0] * torch.tensor([-(1.5**0.5), 0.0, 1.5**0.5])).sum() / 3
    parts = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in parts]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("settings", [{"advantage": "gea"}, {"n_steps": -1}, {"num_samples": 0}, {"gamma": 1.5}, {"gae_lambda": -0.1}])
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        A2CConfig(**settings)


def test_a_policy_without_a_critic_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"a2c: expected .*critic.*Linear.*reinforce"):
        A2CConfig().build(nn.Linear(2, 2), seed=0, num_updates=1)
