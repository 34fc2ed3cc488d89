from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from toy_tokens import DEMONSTRATION, TokenPolicy, TokenTask, demonstrated

from seqrl import Supervised, SupervisedConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.05)


def trainer_of(policy: TokenPolicy | None = None, **settings: Any) -> Supervised:
    policy = TokenPolicy() if policy is None else policy
    return SupervisedConfig(**({"optimiser": FAST} | settings)).build(policy, seed=0, num_updates=100)


def test_learns_the_demonstrations() -> None:
    trainer, task = trainer_of(), TokenTask()
    for _ in range(40):
        stats = trainer.update(trainer.collect(task))
    assert stats["loss/cross_entropy"] < 0.1  # log 6 = 1.79 at first
    assert task.rollout(trainer.policy, greedy=True).action.tolist() == [DEMONSTRATION] * 8
    assert (stats["rollout/num_rows"], stats["rollout/num_steps"], stats["rollout/length"]) == (8, 32, 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_over_the_whole_distribution(smoothing: float) -> None:
    policy = TokenPolicy()
    rows = demonstrated([[2, 4, 1], [5, 1, 0]], lengths=[3, 2])
    total = 0.0
    for before, target in [(0, 2), (2, 4), (4, 1), (0, 5), (5, 1)]:
        probabilities = policy.logp_and_value(torch.tensor(before))[0].exp().tolist()
        for token, probability in enumerate(probabilities):
            share = smoothing / 6 + (1 - smoothing if token == target else 0)
            total -= share * math.log(probability)
    stats = trainer_of(policy, label_smoothing=smoothing).update(rows)
    assert stats["loss/cross_entropy"] == pytest.approx(total / 5, rel=1e-5)


def test_label_smoothing_converges_to_the_smoothed_distribution() -> None:
    trainer = trainer_of(label_smoothing=0.3)
    for _ in range(80):
        trainer.update(demonstrated([[2]]))
    probabilities = trainer.policy.logp_and_value(torch.tensor(0))[0].exp()  # type: ignore[operator]
    assert probabilities.tolist() == pytest.approx([0.05, 0.05, 0.75, 0.05, 0.05, 0.05], abs=0.01)


class Recorder(TokenPolicy):
    """Keeps what it is asked to evaluate, and always resamples token 5."""

    def forward(self, trajectory: Trajectory) -> Any:
        self.seen = trajectory
        return super().forward(trajectory)

    def resample(self, trajectory: Trajectory, generator: torch.Generator) -> torch.Tensor:
        super().resample(trajectory, generator)
        return torch.full_like(trajectory.action, 5)


def test_scheduled_sampling_changes_inputs_as_often_as_asked_and_never_the_targets() -> None:
    policy = Recorder()
    trainer = trainer_of(policy, scheduled_sampling=0.5, scheduled_sampling_updates=4)
    rows = demonstrated([[2, 3, 4, 1, 0]] * 2000, lengths=[4] * 2000)
    for update, share in enumerate([0.0, 0.125, 0.25, 0.375, 0.5, 0.5]):
        trainer.update(rows)
        assert isinstance(policy.seen.obs, torch.Tensor) and isinstance(rows.obs, torch.Tensor)
        assert torch.equal(policy.seen.action, rows.action), update
        changed = policy.seen.obs != rows.obs
        assert (policy.seen.obs[changed] == 5).all()
        assert not changed[:, 0].any() and not changed[:, 5].any()  # neither the begin token nor padding
        deviation = math.sqrt(share * (1 - share) / 8000)
        assert abs(float(changed[:, 1:5].float().mean()) - share) <= 4 * deviation
    assert policy.modes_of_sampling == {False} and policy.training


def test_what_it_cannot_learn_from_is_refused() -> None:
    trainer = trainer_of()
    with pytest.raises(ValueError, match="demonstrations"):
        trainer.update(TokenTask().rollout(trainer.policy))
    trainer = trainer_of(scheduled_sampling=0.5, scheduled_sampling_updates=0)
    trainer.policy.resample = None
    trainer.update(TokenTask().demonstrations())  # the ramp starts at 0
    with pytest.raises(ValueError, match="resample"):
        trainer.update(TokenTask().demonstrations())


@pytest.mark.parametrize("name", ["label_smoothing", "scheduled_sampling"])
def test_shares_outside_0_to_1_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SupervisedConfig(**{name: 1.0})
