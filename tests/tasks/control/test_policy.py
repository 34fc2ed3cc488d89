from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from seqrl.trajectory import Trajectory
from tasks.control.policy import ControlPolicy


def make(observation_space, action_space) -> ControlPolicy:
    policy = ControlPolicy(observation_space, action_space, (8,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # far from uniform, so that mistakes show
        policy.actor.layers[-1].weight.mul_(200)
    return policy


def row_of(policy: ControlPolicy, obs: torch.Tensor, actions: torch.Tensor, logp: torch.Tensor) -> Trajectory:
    flags = torch.zeros(actions.shape[:2], dtype=torch.bool)
    zeros = torch.zeros(actions.shape[:2])
    return Trajectory(actions, logp, torch.zeros(actions.shape[0], actions.shape[1] + 1), zeros, flags, flags, ~flags, obs=obs)


@pytest.mark.parametrize("action_space", [Discrete(3), Box(-2.0, 2.0, (2,))])
@pytest.mark.parametrize("observation_space", [Box(-1.0, 1.0, (2, 3)), Box(0, 255, (4,), dtype=np.uint8), Discrete(5)])
def test_forward_says_what_act_said(observation_space, action_space) -> None:
    policy = make(observation_space, action_space)
    observation_space.seed(0)
    obs = torch.stack([torch.stack([torch.as_tensor(observation_space.sample()) for _ in range(5)]) for _ in range(3)])
    steps = [policy.act(obs[:, t], generator=torch.Generator().manual_seed(t)) for t in range(4)]
    action, logp, value = (torch.stack([getattr(step, name) for step in steps], dim=1) for name in ("action", "logp", "value"))
    evaluation = policy(row_of(policy, obs, action, logp.detach()))
    torch.testing.assert_close(evaluation.logp, logp)
    torch.testing.assert_close(evaluation.value, value)


def test_discrete_actions_are_drawn_as_often_as_they_are_probable() -> None:
    policy = make(Box(-1.0, 1.0, (2,)), Discrete(3))
    obs = torch.tensor([[0.3, -0.8]]).expand(20_000, 2)
    with torch.no_grad():
        step = policy.act(obs, generator=torch.Generator().manual_seed(1))
    for action in range(3):
        chosen = step.action == action
        if chosen.any():
            assert float(chosen.float().mean()) == pytest.approx(float(step.logp[chosen][0].exp()), abs=0.015)
    assert bool((policy.act(obs[:1], greedy=True).logp >= step.logp.max() - 1e-6).all())


def test_gaussian_actions_have_the_density_they_claim() -> None:
    policy = make(Box(-1.0, 1.0, (2,)), Box(-2.0, 2.0, (1,)))
    with torch.no_grad():
        policy.log_std.fill_(math.log(0.5))
    obs = torch.tensor([[0.3, -0.8]]).expand(20_000, 2)
    with torch.no_grad():
        step = policy.act(obs, generator=torch.Generator().manual_seed(1))
        mean = policy.act(obs[:1], greedy=True)
    assert float(step.action.std()) == pytest.approx(0.5, abs=0.01)
    assert float(step.action.mean()) == pytest.approx(float(mean.action), abs=0.02)
    assert float(mean.logp) == pytest.approx(-math.log(0.5 * math.sqrt(2 * math.pi)), abs=1e-5)
    # The entropy is minus the mean log-probability of what is drawn.
    evaluation = policy(row_of(policy, obs[:, None].expand(-1, 2, -1), step.action[:, None], step.logp[:, None].detach()))
    assert float(evaluation.entropy[0, 0].detach()) == pytest.approx(-float(step.logp.mean()), abs=0.02)


def test_same_seed_same_weights() -> None:
    one, two = make(Box(-1.0, 1.0, (2,)), Discrete(3)), make(Box(-1.0, 1.0, (2,)), Discrete(3))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
