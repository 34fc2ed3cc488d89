"""PPO's minibatch without the graph, against the plain way through autograd and against finite differences."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.trainers.fused_ppo import gradients, is_small, ppo_gradients
from seqrl.trainers.ppo import PPO, PPOConfig
from seqrl.trajectory import Trajectory

CLIP = 0.2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_policy(actions: ActionSize | None = None, **settings: object) -> ActorCritic:
    config = ActorCriticConfig(actor_gain=1.0, **settings)  # type: ignore[arg-type]
    return ActorCritic(ObservationSize((4,)), actions or ActionSize(num_actions=3), [5, 6], config, generator=seeded())


def rollout(batch_size: int = 40, num_steps: int = 3) -> Trajectory:
    """Sampled by a policy that is far enough from the one to be learned for ratios within and beyond the interval."""
    shape = (batch_size, num_steps)
    nobody = torch.zeros(shape, dtype=torch.bool)
    return Trajectory(
        action=torch.randint(3, shape, generator=seeded(1)),
        logp=-1.1 + 0.4 * torch.randn(shape, generator=seeded(2)),
        value=torch.randn(batch_size, num_steps + 1, generator=seeded(3)),
        reward=torch.randn(shape, generator=seeded(4)),
        terminated=nobody.clone(),
        truncated=nobody.clone(),
        mask=~nobody,
        obs=torch.randn(*(batch_size, num_steps + 1, 4), generator=seeded(5)),
    )


@pytest.mark.parametrize("settings", [{}, {"ent_coef": 0.3}, {"minibatch_unit": "steps", "minibatches": 3, "vf_coef": 0.9}])
def test_the_minibatch_is_the_plain_one(settings: dict[str, object]) -> None:
    policies, ways = [make_policy() for _ in range(2)], [OptimiserConfig(fused=fused) for fused in ("auto", "off")]  # type: ignore[arg-type]
    trainers = [PPO(policy, PPOConfig(epochs=2, optimiser=way, **settings)) for policy, way in zip(policies, ways, strict=True)]  # type: ignore[arg-type]
    assert [trainer.plain_because for trainer in trainers] == ["", "optimiser.fused is off"]
    small, plain = (trainer.update(rollout()) for trainer in trainers)
    assert small == pytest.approx(plain, rel=1e-4, abs=1e-6) and plain["policy/clip_fraction"] > 0.2
    for mine, theirs in zip(policies[0].parameters(), policies[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def unclipped(logp: Tensor, old_logp: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return -(logp - old_logp).exp() * advantage


def test_an_edited_loss_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the trainer's loss and of what it is made of, though it differs beyond the clip alone."""
    before, weights = make_policy(), []
    PPO(before, PPOConfig()).update(rollout())
    monkeypatch.setattr("seqrl.functional.losses.ppo_clip", unclipped)
    for fused in ("auto", "off"):
        policy = make_policy()
        trainer = PPO(policy, PPOConfig(optimiser=OptimiserConfig(epsilon=1e-5, max_grad_norm=0.5, fused=fused)))  # type: ignore[arg-type]
        assert trainer.how_it_runs.startswith("ppo goes through autograd: ")
        trainer.update(rollout())
        weights.append(policy.actor.layers[0].weight)  # type: ignore[index, union-attr]
    assert torch.equal(*weights) and not torch.allclose(weights[0], before.actor.layers[0].weight, atol=1e-4)  # type: ignore[index, union-attr]


def test_an_edited_layer_takes_effect() -> None:
    class Halved(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    hooked, other = make_policy(), make_policy()
    hooked.critic.layers[0].register_forward_hook(lambda _, inputs, output: output / 2)  # type: ignore[index, union-attr]
    other.actor.layers[1] = Halved(5, 6)  # type: ignore[index, operator, union-attr]
    assert all(PPO(policy).plain_because for policy in (hooked, other))


def test_gradients_are_finite_differences() -> None:
    policy, trajectory = make_policy().double(), rollout(6)
    given = trajectory.replace(logp=trajectory.logp.double(), obs=trajectory.obs.double())  # type: ignore[union-attr]
    advantage, target = torch.randn(2, 6, 3, generator=seeded(6), dtype=torch.float64)

    def loss() -> Tensor:
        weights: dict[str, Any] = {"clip": CLIP, "vf_coef": 0.5, "ent_coef": 0.1, "over": "steps"}
        return torch.stack(list(gradients(policy, given, advantage, target, **weights)[0].values())).sum()

    loss()
    for parameter in policy.parameters():
        assert parameter.grad is not None
        found, flat = parameter.grad.clone(), parameter.data.view(-1)
        for index in range(0, len(flat), 7):
            flat[index] += 1e-6
            above = loss()
            flat[index] -= 2e-6
            difference = (above - loss()) / 2e-6
            flat[index] += 1e-6
            assert float(found.view(-1)[index]) == pytest.approx(float(difference), abs=1e-7)


def test_a_ratio_that_overflows_has_no_slope_where_it_is_clipped() -> None:
    zeros, gain = torch.zeros(1, 2), torch.ones(1, 2)
    loss, _, grad, _ = ppo_gradients(torch.tensor([[200.0, 0.1]]), zeros, zeros, gain, zeros, CLIP)
    assert loss.item() == pytest.approx(-(1.2 + 1.10517), abs=1e-5)
    assert grad.tolist() == [[0.0, pytest.approx(-1.10517, abs=1e-5)]]


def test_others_go_the_plain_way() -> None:
    assert is_small(make_policy())
    for policy in (
        make_policy(activation="relu"),
        make_policy(shared_trunk=True),
        make_policy(memory="gru"),
        make_policy(ActionSize(num_dimensions=2)),
        make_policy(ActionSize(choices=(2, 3))),
        make_policy(ActionSize(num_actions=3, num_dimensions=2)),
        torch.nn.Linear(2, 2),
    ):
        assert not is_small(policy)
    frozen = make_policy()
    next(frozen.critic.parameters()).requires_grad_(False)
    assert not is_small(frozen)
    assert PPO(make_policy(), PPOConfig(clip_range_vf=0.2)).plain_because == "the critic's error is clipped, or Huber's"


@pytest.mark.parametrize("most", [0, 10])
def test_a_loss_that_is_not_finite_changes_nothing_and_names_the_update(most: int) -> None:
    policy = make_policy()
    config = PPOConfig(minibatches=1, optimiser=OptimiserConfig(max_skipped_updates=most))
    before, trainer, trajectory = copy.deepcopy(policy.state_dict()), PPO(policy, config), rollout()
    trajectory.reward[0, 0] = float("nan")
    assert not trainer.plain_because
    if most:
        stats = trainer.update(trajectory)
        assert stats["optimiser/skipped_share"] == 1.0 and not any(key.startswith("loss/") for key in stats)
    else:
        with pytest.raises(ValueError, match="at update 0"):
            trainer.update(trajectory)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.state_dict().items())
