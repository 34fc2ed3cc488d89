"""Soft actor-critic: its networks one by one, its losses by integration, what it converges to by soft value iteration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqrl import SAC, PPOConfig, SACConfig, Trajectory
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActionSize
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.soft_actor_critic import SoftActorCritic, target_entropy
from seqrl.run.config import read_config
from seqrl.run.train import load, train
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig

CONFIGS = Path(__file__).parents[3] / "configs" / "control"
POLICY = ControlPolicyConfig(type="soft_actor_critic", hidden_sizes=(16,))


def policy_of(num_actions: int = 0, num_dimensions: int = 0, inputs: int = 3, hidden: tuple[int, ...] = (16, 16)) -> SoftActorCritic:
    actions = ActionSize(num_actions=num_actions, num_dimensions=num_dimensions)
    policy = SoftActorCritic(ObservationSize((inputs,)), actions, hidden, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return policy


def alone(policy: SoftActorCritic, index: int) -> nn.Sequential:
    """One critic as layers of torch."""
    layers: list[nn.Module] = []
    for weight, bias in zip(policy.critics.weights, policy.critics.biases, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[2])
        layer.weight.data, layer.bias.data = weight[index].detach().T.clone(), bias[index, 0].detach().clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("num_actions", [0, 3])
def test_critics_side_by_side_are_networks_alone(num_actions: int) -> None:
    policy = policy_of(num_actions, 0 if num_actions else 2)
    x, u = torch.randn(7, 3), torch.randn(7, 2)
    shown = x if num_actions else torch.cat([x, u.tanh()], dim=1)
    together = policy.critics(shown)
    for index in range(2):
        torch.testing.assert_close(together[index], alone(policy, index)(shown))
    assert (together[0] - together[1]).abs().max() > 0.1
    if not num_actions:
        torch.testing.assert_close(policy.action_values(policy.critics, x, u), together.squeeze(2))
    else:
        chosen = torch.tensor([0, 2, 1, 1, 0, 2, 2])
        torch.testing.assert_close(policy.action_values(policy.critics, x, chosen), together[:, torch.arange(7), chosen])


def transitions(policy: SoftActorCritic, count: int) -> Trajectory:
    generator = torch.Generator().manual_seed(2)
    action = torch.randn(count, 1, policy.actions.num_dimensions, generator=generator)
    if policy.actions.num_actions:
        action = torch.randint(policy.actions.num_actions, (count, 1), generator=generator)
    none = torch.zeros(count, 1)
    reward, obs = torch.randn(count, 1, generator=generator), torch.randn(count, 2, 3, generator=generator)
    flags = none.bool()
    return Trajectory(action, none, torch.zeros(count, 2), reward, flags, flags, ~flags, obs=obs)


def losses(trainer: SAC, part: Trajectory, target: Tensor, noise: Tensor) -> dict[str, Tensor]:
    return trainer.loss([], trainer.policy.log_ent_coef.detach().exp(), part, trainer.policy(part), target, noise)


def test_losses_of_choices_by_hand() -> None:
    policy = policy_of(num_actions=3)
    trainer = SACConfig(target_entropy=0.5).build(policy, seed=0, num_updates=1)
    policy.log_ent_coef.data.fill_(math.log(0.3))
    part, target = transitions(policy, 6), torch.randn(6, 1)
    found = losses(trainer, part, target, torch.zeros(6, 1, 0))
    x = part.obs[:, 0]  # type: ignore[index]
    values = [alone(policy, index)(x).detach() for index in range(2)]
    logits = policy.actor(x)
    for row in range(6):
        probability = torch.softmax(logits[row], dim=0)
        error = sum(0.5 * (value[row, part.action[row, 0]] - target[row, 0]) ** 2 for value in values)
        assert float(found["loss/critic"][row, 0]) == pytest.approx(float(error.detach()), rel=1e-4)
        least = torch.minimum(values[0][row], values[1][row])
        expected = sum(float(p) * (0.3 * math.log(float(p)) - float(q)) for p, q in zip(probability, least, strict=True))
        assert float(found["loss/actor"][row, 0]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        entropy = -sum(float(p) * math.log(float(p)) for p in probability)
        assert float(found["loss/ent_coef"][row, 0]) == pytest.approx(math.log(0.3) * (entropy - 0.5), rel=1e-4, abs=1e-5)


def test_actor_of_numbers_follows_the_integral() -> None:
    """The mean of many draws, and its gradient, against a sum over a fine grid of u, differentiated through the density."""
    policy = policy_of(num_dimensions=1)
    trainer = SACConfig(ent_coef=0.4).build(policy, seed=0, num_updates=1)
    count = 40_000
    one = transitions(policy, 1)
    part = one.select_rows(torch.zeros(count, dtype=torch.long))
    noise = torch.randn(count, 1, 1, generator=torch.Generator().manual_seed(3))
    drawn = losses(trainer, part, torch.zeros(count, 1), noise)["loss/actor"].mean()
    last = list(policy.actor.parameters())[-1]
    gradient = torch.autograd.grad(drawn, last)[0]
    x, u = one.obs[:, 0], torch.linspace(-12, 12, 48_001).unsqueeze(1)  # type: ignore[index]
    mean, log_std = policy.actor(x).chunk(2, dim=1)
    density = torch.distributions.Normal(mean, log_std.exp())
    logp = density.log_prob(u).squeeze(1) - (1 - u.tanh().square() + 1e-12).log().squeeze(1)
    with torch.no_grad():
        shown = torch.cat([x.expand(len(u), -1), u.tanh()], dim=1)
        least = torch.minimum(alone(policy, 0)(shown), alone(policy, 1)(shown)).squeeze(1)
    weight = density.log_prob(u).exp().squeeze(1) * 24 / 48_000
    integral = (weight * (0.4 * logp - least)).sum()
    assert float(drawn) == pytest.approx(float(integral), abs=0.02)
    torch.testing.assert_close(gradient, torch.autograd.grad(integral, last)[0], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("entropy_in_values", [True, False])
def test_targets_look_one_step_ahead(entropy_in_values: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """r + γ (Σ_a π (min_k Q'_k - α log π)), without what follows a termination; or the same without the entropies."""
    task = ControlConfig("CartPole-v1", num_envs=4, num_steps=30, policy=POLICY).build(0)
    config = SACConfig(learning_starts=0, batch_size=64, gamma=0.9, ent_coef=0.2, gradient_steps=1, entropy_in_values=entropy_in_values)
    trainer = config.build(task.build_policy(), seed=0, num_updates=1)
    seen: dict[str, Any] = {}
    step = trainer.optimiser.step
    monkeypatch.setattr(
        trainer.optimiser, "step", lambda part, loss, **columns: seen.update(columns, part=part) or step(part, loss, **columns)
    )
    with torch.no_grad():
        for parameter in trainer.target.parameters():
            parameter += 0.1
    before, logits_of = [parameter.clone() for parameter in trainer.target.parameters()], trainer.policy.actor
    rows = trainer.collect(task)
    policy = trainer.policy
    frozen = [weight.clone() for weight in policy.actor.parameters()]
    trainer.update(rows)
    for parameter, old in zip(policy.actor.parameters(), frozen, strict=True):
        parameter.data.copy_(old)
    half = len(before) // 2
    x = seen["part"].obs[:, 1]
    values = []
    for index in range(2):
        hidden = (x @ before[0][index] + before[half][index]).relu()
        values.append(hidden @ before[1][index] + before[half + 1][index])
    logp = torch.log_softmax(logits_of(x).detach(), dim=1)
    soft = (logp.exp() * (torch.minimum(*values) - 0.2 * entropy_in_values * logp)).sum(dim=1)
    expected = seen["part"].reward[:, 0] + 0.9 * torch.where(seen["part"].terminated[:, 0], 0.0, soft)
    torch.testing.assert_close(seen["target"][:, 0], expected, rtol=1e-4, atol=1e-5)
    assert bool(seen["part"].terminated.any()) and not bool(seen["part"].terminated.all())


def test_target_follows_by_a_share_of_the_way() -> None:
    task = ControlConfig("Pendulum-v1", num_envs=2, num_steps=10, policy=POLICY).build(0)
    trainer = SACConfig(learning_starts=0, batch_size=8, tau=0.25).build(task.build_policy(), seed=0, num_updates=1)
    before = [parameter.clone() for parameter in trainer.target.parameters()]
    trainer.update(trainer.collect(task))
    for old, now, own in zip(before, trainer.target.parameters(), trainer.policy.critics.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), 0.75 * old + 0.25 * own.detach())


def test_actions_by_chance_are_drawn_evenly() -> None:
    policy = policy_of(num_dimensions=2)
    policy.acts_by_chance = True
    action = policy.act(torch.zeros(20_000, 3), generator=torch.Generator().manual_seed(0)).action.tanh()
    assert float(action.mean().abs()) < 0.02 and float(action.var()) == pytest.approx(1 / 3, abs=0.01)
    assert torch.equal(policy.act(torch.zeros(2, 3), greedy=True).action, policy.distribution(torch.zeros(2, 3)).mode())
    choices = policy_of(num_actions=4)
    choices.acts_by_chance = True
    drawn = choices.act(torch.zeros(20_000, 3), generator=torch.Generator().manual_seed(0)).action
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, 0.25, atol=0.015)


def test_entropies_that_are_aimed_at() -> None:
    assert target_entropy(ActionSize(num_dimensions=6)) == -6.0
    assert target_entropy(ActionSize(num_actions=4)) == pytest.approx(0.98 * math.log(4))


def soft_action_values(transition: Tensor, reward: Tensor, coefficient: float, gamma: float) -> Tensor:
    """Soft value iteration: V = α log Σ_a exp(Q / α), Q = R + γ P V."""
    values = torch.zeros_like(reward)
    for _ in range(2000):
        values = reward + gamma * (transition @ (coefficient * (values / coefficient).logsumexp(dim=1)))
    return values


@pytest.mark.slow
def test_choices_converge_to_soft_value_iteration() -> None:
    """On a chain of six, whose ends pay 0.3 and 1, with a fixed α."""
    length, coefficient, gamma = 6, 0.3, 0.8
    options = {"length": length, "small_reward": 0.3}
    task = ControlConfig("seqrl/Chain-v0", environment_options=options, max_episode_steps=20, num_envs=8, num_steps=8, policy=POLICY).build(
        0
    )
    optimiser = OptimiserConfig(learning_rate=5e-3, max_grad_norm=0.0, schedule="linear", precision="fp32")
    config = SACConfig(gamma, ent_coef=coefficient, learning_starts=500, batch_size=128, gradient_steps=4, tau=0.05, optimiser=optimiser)
    trainer = config.build(task.build_policy(), seed=0, num_updates=400)
    for _ in range(400):
        trainer.update(trainer.collect(task))
    transition, reward = torch.zeros(length, 2, length, dtype=torch.float64), torch.zeros(length, 2, dtype=torch.float64)
    for state in range(length):
        for action, following in enumerate((max(0, state - 1), min(length - 1, state + 1))):
            transition[state, action, following] = 1.0
            reward[state, action] = {0: 0.3, length - 1: 1.0}.get(following, 0.0)
    exact = soft_action_values(transition, reward, coefficient, gamma)
    policy = trainer.policy
    with torch.no_grad():
        x = policy.inputs(torch.arange(length))
        learned, probability = policy.critics(x).amin(dim=0).double(), policy.distribution(x).logits.softmax(dim=1).double()  # type: ignore[union-attr]
    torch.testing.assert_close(learned, exact, rtol=0, atol=0.12)
    torch.testing.assert_close(probability, (exact / coefficient).softmax(dim=1), rtol=0, atol=0.06)


@pytest.mark.slow
def test_entropy_of_numbers_comes_to_its_target() -> None:
    """Where every step pays -2 (a - 0.3)², the actor comes to 0.3 and to the entropy that is asked for."""
    import gymnasium as gym
    from gymnasium.spaces import Box

    class Aim(gym.Env[Any, Any]):
        observation_space, action_space = Box(-1, 1, (1,), np.float32), Box(-1, 1, (1,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return np.zeros(1, np.float32), -2 * float(action[0] - 0.3) ** 2, True, False, {}

    if "sac/Aim-v0" not in gym.registry:
        gym.register("sac/Aim-v0", entry_point=Aim, max_episode_steps=1)
    task = ControlConfig("sac/Aim-v0", num_envs=8, num_steps=8, policy=POLICY).build(0)
    optimiser = OptimiserConfig(learning_rate=5e-3, max_grad_norm=0.0, precision="fp32")
    config = SACConfig(learning_starts=200, batch_size=128, gradient_steps=4, tau=0.05, optimiser=optimiser)
    trainer = config.build(task.build_policy(), seed=0, num_updates=450)
    entropies = [trainer.update(trainer.collect(task)).get("policy/entropy", 9.0) for _ in range(450)]
    assert np.mean(entropies[-50:]) == pytest.approx(-1.0, abs=0.15)
    action = trainer.policy.act(torch.zeros(1, 1), greedy=True).action.tanh()
    assert float(action) == pytest.approx(0.3, abs=0.05)


@pytest.mark.slow
def test_swings_a_pendulum_up() -> None:
    policy = ControlPolicyConfig(type="soft_actor_critic", hidden_sizes=(64, 64))
    task = ControlConfig("Pendulum-v1", num_envs=4, num_steps=1, num_eval_episodes=10, policy=policy).build(0)
    optimiser = OptimiserConfig(learning_rate=2e-3, max_grad_norm=0.0, precision="fp32")
    config = SACConfig(learning_starts=400, batch_size=128, gradient_steps=2, tau=0.01, optimiser=optimiser)
    trainer = config.build(task.build_policy(), seed=0, num_updates=2000)
    for _ in range(2000):
        trainer.update(trainer.collect(task))
    assert task.evaluate(trainer.policy)["return_mean"] > -400


@pytest.mark.slow
def test_balances_a_pole(tmp_path: Path) -> None:
    overrides = [f"--runs_folder={tmp_path}", "--eval_every=0", "--num_threads=1"]
    train(read_config(CONFIGS / "cartpole_sac.yaml", overrides), display=False)
    _, task, policy, _ = load(tmp_path / "cartpole_sac")
    assert task.evaluate(policy, split="test")["return_mean"] >= 400  # 500 on five seeds; other processors round otherwise


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SACConfig().build(ControlConfig("Pendulum-v1").build(0).build_policy(), seed=0, num_updates=1),
            "soft_actor_critic.*choose",
        ),
        (lambda: PPOConfig().build(policy_of(num_actions=2), seed=0, num_updates=1), "probabilities have gradients"),
        (lambda: SACConfig(ent_coef=0.0), "ent_coef: expected auto or a positive number, got 0"),
        (lambda: SACConfig(ent_coef="automatic"), "ent_coef: expected auto or a positive number, got 'automatic'"),
        (lambda: SACConfig(ent_coef=0.1, target_entropy=0.2), "target_entropy: expected auto beside a fixed ent_coef"),
        (lambda: SACConfig(target_entropy=0.7).build(policy_of(num_actions=2), seed=0, num_updates=1), "expected less than 0.693"),
        (lambda: SACConfig(tau=0.0), "tau: expected a number above 0"),
        (lambda: refused("Pendulum-v1", reward_scale=True), "sac: expected rewards of one unit"),
        (lambda: ControlConfig("seqrl/GlimpseCatch-v0", policy=POLICY).build(0).build_policy(), "type: soft_actor_critic needs|squash"),
    ],
)
def test_refuses_what_it_cannot_learn(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def refused(name: str, **settings: Any) -> None:
    task = ControlConfig(name, policy=POLICY, **settings).build(0)
    SACConfig().build(task.build_policy(), seed=0, num_updates=1).check_task(task)
