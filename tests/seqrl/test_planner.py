"""A planner beside plans that are enumerated, a model beside a world whose equations are known."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from torch import Tensor

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.planner import DynamicsEnsemble, Planner, PlannerConfig
from seqrl.tasks.control.policy import ControlPolicyConfig, build_policy
from seqrl.trainers.model_based import ModelBased, ModelBasedConfig
from seqrl.trajectory import Trajectory

SEARCH = PlannerConfig(num_models=2, horizon=3, num_candidates=200, num_elites=10, num_rounds=4)


def foretell(obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A world: the place moves by the action; near 1 is paid; beyond 1.5 it ends."""
    place = obs + action.sum(dim=-1, keepdim=True)
    return place, -(place.squeeze(-1) - 1).abs(), (place.squeeze(-1) > 1.5).float()


def planner(**settings: Any) -> Planner:
    made = Planner(1, (8,), SEARCH, generator=torch.Generator().manual_seed(0), **settings)
    made.num_fits += 1
    made.model.foretell = foretell  # type: ignore[method-assign, assignment]
    return made


def test_an_imagined_return_by_hand() -> None:
    made = planner(bounds=torch.tensor([[-1.0], [1.0]]))
    plans = torch.tensor([[[[0.5], [0.5], [1.0]], [[1.0], [1.0], [1.0]]]])
    # -0.5 + 0 - 1; then 0 - 1, after which the episode has ended.
    assert made.imagined_return(torch.zeros(1, 1), plans).tolist() == [[-1.5, -1.0]]


def test_numbered_actions_are_those_of_the_best_plan_of_all() -> None:
    made = planner(num_actions=2)

    def moves(obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return foretell(obs, 0.5 * (action[..., 1:] - action[..., :1]))

    made.model.foretell = moves  # type: ignore[method-assign, assignment]
    obs = torch.tensor([[0.2], [1.9], [1.0]])
    every = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    returns = made.imagined_return(obs, made.encode(every).expand(3, -1, -1, -1))
    step = made.act(obs, generator=torch.Generator().manual_seed(0))
    assert step.action.tolist() == every[returns.argmax(dim=1), 0].tolist()
    assert step.state.shape == (3, 3, 2)  # type: ignore[union-attr]


def test_a_force_lies_within_its_bounds_and_reaches_the_best_place() -> None:
    made = planner(bounds=torch.tensor([[-4.0], [2.0]]))
    step = made.act(torch.tensor([[0.4], [3.0]]), generator=torch.Generator().manual_seed(0))
    # 0.6 in -1..1 is 0.8 in -4..2; from 3 nothing but back helps.
    assert step.action[0].item() == pytest.approx(0.8, abs=0.15)
    assert step.action[1].item() == pytest.approx(-4.0, abs=0.3)
    assert torch.allclose(made.decode(made.encode(torch.tensor([[-3.0]]))), torch.tensor([[-3.0]]))


@pytest.mark.parametrize("settings", [{"num_actions": 3}, {"bounds": torch.tensor([[-2.0, 0.0], [2.0, 1.0]])}])
def test_before_the_first_fit_actions_are_drawn_evenly(settings: dict[str, Any]) -> None:
    made = Planner(1, (8,), SEARCH, **settings)
    action = made.act(torch.zeros(20_000, 1), generator=torch.Generator().manual_seed(0)).action
    if "num_actions" in settings:
        assert torch.allclose(action.bincount() / 20_000, torch.full((3,), 1 / 3), atol=0.02)
    else:
        assert torch.allclose(action.mean(dim=0), torch.tensor([0.0, 0.5]), atol=0.05)
        assert torch.allclose(action.var(dim=0), torch.tensor([16.0, 1.0]) / 12, rtol=0.05)


def test_the_loss_by_hand() -> None:
    model = DynamicsEnsemble(1, 1, (4,), 2, generator=torch.Generator().manual_seed(0))
    obs, action, target = torch.randn(2, 5, 1), torch.randn(2, 5, 1), torch.randn(2, 5, 2)
    ended = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]] * 2)
    mean, log_std, logit = model(obs, action)
    normal = torch.distributions.Normal(mean, log_std.exp()).log_prob(target).sum(dim=2)
    bernoulli = torch.distributions.Bernoulli(logits=logit).log_prob(ended)
    torch.testing.assert_close(model.loss(obs, action, target, ended), -(normal + bernoulli).mean(dim=1).sum())


def stretch(seed: int, steps: int = 200) -> Trajectory:
    """Chance actions in a world where the place moves by half an action, and the place is paid."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.rand(1, steps, 1, generator=generator) * 2 - 1
    obs = torch.cat([torch.zeros(1, 1, 1), 0.5 * action.cumsum(dim=1)], dim=1)
    none, zeros = torch.zeros(1, steps, dtype=torch.bool), torch.zeros(1, steps)
    return Trajectory(action, zeros, torch.zeros(1, steps + 1), obs[:, :-1, 0], none, none, ~none, obs=obs)


def learner() -> ModelBased:
    policy = Planner(1, (16,), SEARCH, bounds=torch.tensor([[-1.0], [1.0]]), generator=torch.Generator().manual_seed(0))
    return ModelBasedConfig(gradient_steps=150, optimiser=OptimiserConfig(learning_rate=3e-3)).build(policy, seed=0, num_updates=9)


def test_a_model_of_a_linear_world_is_learned() -> None:
    trainer = learner()
    for seed in range(3):
        stats = trainer.update(stretch(seed))
    assert stats["replay/num_steps"] == 600
    obs, action = torch.full((2, 1, 1), 0.7), torch.full((2, 1, 1), -0.6)
    following, reward, end = trainer.policy.model.foretell(obs, action)
    assert following.flatten().tolist() == pytest.approx([0.4, 0.4], abs=0.1)
    assert reward.flatten().tolist() == pytest.approx([0.7, 0.7], abs=0.15)
    assert float(end.detach().max()) < 0.1


def test_a_resumed_run_goes_on_to_the_bit() -> None:
    trainer, resumed = learner(), learner()
    trainer.update(stretch(0))
    resumed.policy.load_state_dict(trainer.policy.state_dict())
    resumed.load_state_dict(trainer.state_dict())
    for each in (trainer, resumed):
        each.update(stretch(1))
    for one, other in zip(trainer.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("shown", "actions"),
    [
        (Discrete(4), Discrete(2)),
        (Box(-1.0, 1.0, (2,)), Box(-torch.inf, torch.inf, (1,))),
        (Dict(observation=Box(-1.0, 1.0, (2,)), action_mask=Box(0, 1, (2,), dtype="int8")), Discrete(2)),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_planned_is_refused(shown: Any, actions: Any) -> None:
    with pytest.raises(ValueError, match=r"planner needs a Box of observations.*use type: actor_critic"):
        build_policy(ControlPolicyConfig(type="planner"), shown, actions)


def test_bad_settings_and_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="num_elites: expected at most num_candidates 5, got 9"):
        PlannerConfig(num_candidates=5, num_elites=9)
    with pytest.raises(ValueError, match="model_based teaches the model of a policy that plans, got a Linear"):
        ModelBasedConfig().build(torch.nn.Linear(1, 1), seed=0, num_updates=1)
