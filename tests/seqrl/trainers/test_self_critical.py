from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_tokens import TokenPolicy, TokenTask, by_hand, flat_weights, gradient_of

from seqrl import ReinforceConfig, SelfCritical, SelfCriticalConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.imitation import ImitationConfig

FAST = OptimiserConfig(learning_rate=0.05)


def trainer_of(policy: TokenPolicy | None = None, **settings: Any) -> SelfCritical:
    policy = TokenPolicy() if policy is None else policy
    return SelfCriticalConfig(optimiser=FAST, **settings).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize("baseline", ["greedy", "leave_one_out"])
def test_learns_the_toy_task(baseline: Any) -> None:
    trainer, task = trainer_of(baseline=baseline), TokenTask()
    for _ in range(25):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6


@pytest.mark.parametrize(
    ("baseline", "advantages"), [("greedy", [[-1.0] * 3, [2.0] * 2 + [0.0]]), ("leave_one_out", [[-6.0] * 3, [6.0] * 2 + [0.0]])]
)
def test_gradient_is_that_of_the_advantages_by_hand(baseline: Any, advantages: list[list[float]]) -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2, 4, 1], [5, 1, 0]], [[0, 0, 3.0], [0, 9.0, 0]], lengths=[3, 2], group=torch.tensor([4, 4]))
    rows = rows.replace(baseline=torch.tensor([4.0, 7.0], dtype=torch.float64))
    gradient = gradient_of(trainer_of(policy, baseline=baseline), rows)
    loss = -(policy(rows).logp * torch.tensor(advantages, dtype=torch.float64)).sum() / 5
    expected = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient, torch.cat([part.flatten() for part in expected]), rtol=0, atol=1e-12)


def test_leave_one_out_is_reinforce_with_that_baseline_to_the_bit() -> None:
    weights = []
    for config in (SelfCriticalConfig(optimiser=FAST), ReinforceConfig(baseline="leave_one_out", optimiser=FAST)):
        trainer, task = config.build(TokenPolicy(), seed=3, num_updates=5), TokenTask()
        for _ in range(5):
            trainer.update(trainer.collect(task))
        weights.append(flat_weights(trainer.policy))
    assert torch.equal(*weights)


def test_greedy_takes_the_trajectorys_baseline() -> None:
    trainer = trainer_of(baseline="greedy", num_samples=2)
    rows = trainer.collect(TokenTask())
    assert rows.baseline is not None and rows.baseline.unique().numel() == 1  # all contexts are alike
    stats = trainer.update(rows.replace(baseline=rows.score))
    assert stats["advantage/std"] == 0 and stats["advantage/mean"] == 0
    with pytest.raises(ValueError, match="greedy_baseline"):
        trainer.update(rows.replace(baseline=None))


def test_forced_steps_shrink_and_are_imitated_not_reinforced() -> None:
    mix = ImitationConfig(weight=1.0, forced_steps=4, forced_decrease=2, forced_updates=2)
    trainer, task = trainer_of(imitation=mix), TokenTask()
    for update in range(6):
        rows = trainer.collect(task)
        forced = [4, 4, 2, 2, 0, 0][update]
        assert rows.batch_size == 40  # no rows of demonstrations besides
        assert not rows.mask[:, :forced].any()
        assert bool(rows.mask[:, forced:].any()) is (forced < 4)
        if forced:
            assert rows.imitate is not None and rows.imitate[:, :forced].all() and not rows.imitate[:, forced:].any()
            assert rows.action[:, :forced].tolist() == [[2, 3, 4, 1][:forced]] * 40
        else:
            assert rows.imitate is None
        trainer.update(rows)
    assert task.forced_lengths == [4, 4, 2, 2, 0, 0]


def test_mixed_loss_is_policy_gradient_plus_weighted_cross_entropy() -> None:
    policy, task = TokenPolicy(), TokenTask()
    rows = trainer_of(policy).collect(task)
    mixed = trainer_of(policy, imitation=ImitationConfig(weight=0.25))
    reinforced = gradient_of(trainer_of(policy), rows)
    demonstrations = task.demonstrations()
    loss = -0.25 * policy(demonstrations).logp.mean()
    imitated = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    both = mixed.collect(task)
    assert both.batch_size == 40 + 8 and both.imitate is not None and int(both.imitate.sum()) == 8 * 4
    assert not (both.mask & both.imitate).any()
    gradient = gradient_of(mixed, both)
    torch.testing.assert_close(gradient, reinforced + torch.cat([part.flatten() for part in imitated]), rtol=0, atol=1e-6)


def test_demonstrations_stop_when_their_weight_has_annealed_to_nothing() -> None:
    trainer, task = trainer_of(imitation=ImitationConfig(weight=1.0, final_weight=0.0, anneal_updates=3)), TokenTask()
    sizes, keys = [], []
    for _ in range(5):
        rows = trainer.collect(task)
        sizes.append(rows.batch_size)
        keys.append("loss/cross_entropy" in trainer.update(rows))
    assert sizes == [48, 48, 48, 40, 40] and keys == [True, True, True, False, False]


def test_sampling_has_no_dropout() -> None:
    policy = TokenPolicy(dropout=0.5)
    trainer = trainer_of(policy, dropout=True)
    for _ in range(2):
        trainer.update(trainer.collect(TokenTask()))
        assert policy.training
    assert policy.modes_of_sampling == {False}


@pytest.mark.parametrize("settings", [{"baseline": "critic"}, {"num_samples": 1}, {"baseline": "greedy", "num_samples": 0}])
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(settings)[-1]):
        SelfCriticalConfig(**settings)
