from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_tokens import TablePolicy, TokenPolicy, TokenTask, by_hand, flat_weights, gradient_of

from seqrl.distributions import Gaussian
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.tokens import TokenPolicy as TextPolicy
from seqrl.trainers.importance_weights import UniformMixture
from seqrl.trainers.off_policy import OffPolicy, OffPolicyConfig
from seqrl.trajectory import Evaluation, Step, Trajectory

FAST = OptimiserConfig(learning_rate=0.05)
STEPS = 3
ROWS = list(itertools.product(range(3), repeat=STEPS))


def trainer_of(policy: nn.Module | None = None, **settings: Any) -> OffPolicy:
    policy = TokenPolicy() if policy is None else policy
    return OffPolicyConfig(**({"optimiser": FAST} | settings)).build(policy, seed=0, num_updates=100)


def reward_of(row: tuple[int, ...]) -> list[float]:
    """A reward for each step that depends on all tokens so far."""
    return [0.7 * row[t] ** 2 - 1.3 * sum(row[:t]) + 0.5 * row[t] * sum(row[: t + 1]) for t in range(STEPS)]


def logps(policy: Any, row: tuple[int, ...]) -> Tensor:
    """Log-probability of each token of a row after the begin token 0."""
    every = policy.logp_and_value(torch.tensor([0, *row[:-1]]))[0]
    return every[torch.arange(STEPS), torch.tensor(row)]


def flat_gradient(number: Tensor, policy: nn.Module) -> Tensor:
    parts = torch.autograd.grad(number, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def policies() -> tuple[TokenPolicy, TokenPolicy]:
    return TokenPolicy(num_tokens=3, width=2, seed=3).double(), TokenPolicy(num_tokens=3, width=2, seed=8).double()


def expected_gradient(**settings: Any) -> Tensor:
    """What the trainer's gradient is on average over all rows, each as often as mu draws it."""
    pi, mu = policies()
    trainer = trainer_of(pi, gamma=1.0, vf_coef=0.0, **settings)
    mean = torch.zeros(sum(p.numel() for p in pi.parameters()), dtype=torch.float64)
    for row in ROWS:
        logp = logps(mu, row).detach()
        rows = by_hand([list(row)], [reward_of(row)], logp=logp.unsqueeze(0))
        mean += float(logp.sum().exp()) * gradient_of(trainer, rows)
    return -STEPS * mean


@pytest.mark.parametrize("baseline", ["none", "critic"])
def test_expectation_is_the_gradient_of_the_expected_return(baseline: str) -> None:
    pi, mu = policies()
    true = flat_gradient(torch.stack([logps(pi, row).sum().exp() * sum(reward_of(row)) for row in ROWS]).sum(), pi)
    assert true.norm() > 0.1 and (logps(pi, (2, 1, 0)) - logps(mu, (2, 1, 0))).abs().max() > 0.5
    torch.testing.assert_close(expected_gradient(baseline=baseline), true, rtol=0, atol=1e-6)
    for biased in () if baseline == "critic" else ({"weighting": "none"}, {"weighting": "own_action"}, {"max_weight": 1.0}):
        assert (expected_gradient(baseline=baseline, **biased) - true).abs().max() > 0.05


@pytest.mark.parametrize("baseline", ["none", "critic"])
def test_own_action_is_right_in_the_states_that_mu_visits(baseline: str) -> None:
    # sum over states, as often as mu comes there, of sum_a grad pi(a|s) Q(s, a), with Q of pi by enumeration.
    pi, mu = policies()

    def action_value(prefix: tuple[int, ...]) -> float:
        """Reward of the last token of a prefix and what pi earns after it."""
        total = reward_of(prefix + (0,) * (STEPS - len(prefix)))[len(prefix) - 1]
        if len(prefix) < STEPS:
            chance = pi.logp_and_value(torch.tensor(prefix[-1:]))[0][0].exp().tolist()
            total += sum(chance[token] * action_value((*prefix, token)) for token in range(3))
        return total

    target = torch.zeros((), dtype=torch.float64)
    for length in range(STEPS):
        for prefix in itertools.product(range(3), repeat=length):
            seen = [0, *prefix]
            visits = math.prod(
                float(mu.logp_and_value(torch.tensor([a]))[0][0, b].detach().exp()) for a, b in zip(seen, prefix, strict=False)
            )
            chance = pi.logp_and_value(torch.tensor(seen[-1:]))[0][0].exp()
            target = target + visits * sum(chance[token] * action_value((*prefix, token)) for token in range(3))
    torch.testing.assert_close(expected_gradient(baseline=baseline, weighting="own_action"), flat_gradient(target, pi), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        # First row: ratios 2, 3, rewards 1, 4: weights 2, 6; second row: ratio 1/2, reward 8: weight 1/2.
        ({}, [[26.0, 24.0], [4.0, 0.0]]),
        ({"gamma": 0.5}, [[14.0, 24.0], [4.0, 0.0]]),
        ({"max_weight": 4.0}, [[18.0, 16.0], [4.0, 0.0]]),
        # The mean weights of the steps are 1.25 and, as the second row stays at its last weight, 3.25.
        ({"self_normalise": True}, [[1.6 + 24 / 3.25, 24 / 3.25], [0.4 * 8, 0.0]]),
        ({"weighting": "own_action"}, [[26.0, 12.0], [4.0, 0.0]]),  # 2 (1 + 3 * 4), 3 * 4
        ({"weighting": "own_action", "max_weight": 2.5}, [[22.0, 10.0], [4.0, 0.0]]),
        ({"weighting": "none"}, [[5.0, 4.0], [8.0, 0.0]]),
    ],
    ids=lambda setting: "-".join(setting) if isinstance(setting, dict) else "",
)
def test_weights_by_hand(settings: dict[str, Any], advantages: list[list[float]]) -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2, 4], [3, 1]], [[1.0, 4.0], [8.0, 0.0]], lengths=[2, 1])
    ratios = torch.tensor([[2.0, 3.0], [0.5, 1e6]], dtype=torch.float64)
    rows = rows.replace(logp=policy(rows).logp.detach() - ratios.log())
    trainer = trainer_of(policy, baseline="none", **({"gamma": 1.0} | settings))
    loss = -(policy(rows).logp * torch.tensor(advantages)).sum() / 3
    expected = flat_gradient(loss, policy)
    torch.testing.assert_close(gradient_of(trainer, rows), expected, rtol=1e-6, atol=1e-6)


def test_weights_start_anew_with_each_episode_and_values_stand_in_for_what_was_cut_off() -> None:
    policy = TablePolicy().double()
    nn.init.zeros_(policy.critic.weight)
    with torch.no_grad():
        policy.critic.weight[5] = 10.0
    # Ratios 2 | an end, a step that does not count | 3, then cut off before token 5, which is worth 10. Discount 1/2.
    rows = by_hand([[2, 4, 5]], [[1.0, 9.0, 4.0]])
    rows = rows.replace(
        mask=torch.tensor([[True, False, True]]),
        terminated=torch.tensor([[True, False, False]]),
        logp=policy(rows).logp.detach() - torch.tensor([[2.0, 50.0, 3.0]]).log(),
    )
    trainer = trainer_of(policy, gamma=0.5, vf_coef=0.0)
    loss = -(policy(rows).logp * torch.tensor([[2.0, 0.0, 3 * (4 + 0.5 * 10)]])).sum() / 2
    expected = flat_gradient(loss, policy)
    torch.testing.assert_close(gradient_of(trainer, rows), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"actor_lag": 2},
        {"actor_lag": 1, "weighting": "own_action", "max_weight": 2.0},
        {"actor_lag": 0, "epochs": 3, "max_weight": 2.0},
        {"actor_lag": 2, "self_normalise": True, "baseline": "none"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_learns_the_toy_task(settings: dict[str, Any]) -> None:
    trainer, task = trainer_of(num_samples=5, gamma=1.0, **settings), TokenTask()
    for _ in range(30):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6  # 0.15 at first


def test_learns_from_the_first_policy_alone() -> None:
    trainer, task = trainer_of(TablePolicy(), num_samples=20, actor_lag=None, epsilon=0.5, self_normalise=True, gamma=1.0), TokenTask()
    first = flat_weights(trainer.policy)
    for _ in range(60):
        rows = trainer.collect(task)
        trainer.update(rows)
    now = task.rollout(trainer.policy, num_samples=20, generator=torch.Generator().manual_seed(0))
    assert float(now.score.mean()) > 0.5 and float(rows.score.mean()) < 0.3
    assert torch.equal(torch.cat([weight.flatten() for weight in trainer.actor.state_dict()["queue"][0]]), first)


def test_mixture_draws_and_reports_what_it_says() -> None:
    policy = TablePolicy(num_tokens=4)
    with torch.no_grad():
        policy.actor.weight[0] = torch.tensor([0.7, 0.2, 0.1, 0.0]).log()  # the last one is forbidden
    step = UniformMixture(policy, 0.3).act(torch.zeros(30_000, dtype=torch.long), None, generator=torch.Generator().manual_seed(0))
    chances = torch.tensor([0.7 * 0.7 + 0.1, 0.7 * 0.2 + 0.1, 0.7 * 0.1 + 0.1])
    counts = torch.bincount(step.action, minlength=4)
    assert int(counts[3]) == 0
    expected = 30_000 * chances
    assert float(((counts[:3] - expected).square() / expected).sum()) < 13.8  # chi-square, two degrees of freedom, 0.1 %
    assert step.logp is not None
    torch.testing.assert_close(step.logp.exp(), chances[step.action])
    greedy = UniformMixture(policy, 0.3).act(torch.zeros(9, dtype=torch.long), None, greedy=True)
    assert greedy.action.tolist() == [0] * 9


def test_mixture_passes_observations_on() -> None:
    policy, seen = TablePolicy(), []
    UniformMixture(policy, 0.3).observe(torch.ones(2), torch.ones(2).bool())  # which counts none
    policy.observe = lambda obs, mask: seen.append(obs)  # type: ignore[assignment]
    UniformMixture(policy, 0.3).observe(torch.ones(2), torch.ones(2).bool())
    assert len(seen) == 1


class GaussianPolicy(TablePolicy):
    def act(self, obs: Tensor, state: Any, **settings: Any) -> Step:
        none = torch.zeros(obs.shape)
        return Step(torch.zeros(*obs.shape, 1), none, none)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        none = torch.zeros_like(trajectory.reward)
        return Evaluation(none, none, none, distribution=Gaussian(torch.zeros(*none.shape, 1), torch.zeros(1)))


def test_what_it_cannot_serve_is_refused() -> None:
    with pytest.raises(ValueError, match=r"epsilon.*Gaussian.*epsilon=0"):
        trainer_of(GaussianPolicy(), epsilon=0.1).collect(TokenTask())
    with pytest.raises(ValueError, match="epsilon: expected .*got a TokenPolicy.*epsilon=0"):
        trainer_of(TextPolicy(nn.Linear(2, 2)), baseline="none", epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon.*NoneType"):
        trainer_of(TokenPolicy(), epsilon=0.1).collect(TokenTask())
    rows = by_hand([[2, 4]], [[1.0, 4.0]]).replace(terminated=torch.tensor([[True, False]]))
    with pytest.raises(ValueError, match="one episode a row"):
        trainer_of(TokenPolicy().double(), self_normalise=True).update(rows)


@pytest.mark.parametrize("settings", [{"actor_lag": 3}, {"actor_lag": None, "epsilon": 0.2, "epochs": 2}], ids=["lagging", "first"])
def test_resumed_run_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    def run(trainer: OffPolicy, count: int) -> None:
        for _ in range(count):
            trainer.update(trainer.collect(TokenTask(num_contexts=4)))

    whole, first, second = (trainer_of(TablePolicy(seed=seed), **settings) for seed in (1, 1, 2))
    run(whole, 6)
    run(first, 3)
    torch.save({"trainer": first.state_dict(), "policy": first.policy.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.policy.load_state_dict(state["policy"])
    second.load_state_dict(state["trainer"])
    run(second, 3)
    assert torch.equal(flat_weights(second.policy), flat_weights(whole.policy))


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": "all"},
        {"baseline": "greedy"},
        {"epochs": 0},
        {"epsilon": 1.5},
        {"actor_lag": -1},
        {"max_weight": -1.0},
        {"self_normalise": True, "weighting": "none"},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        OffPolicyConfig(**settings)


def test_a_policy_without_a_critic_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"off_policy: expected .*critic.*Linear.*reinforce"):
        OffPolicyConfig().build(nn.Linear(2, 2), seed=0, num_updates=1)


def test_normalising_over_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # whose longest rows would differ, and with them the tensors that they average
    with pytest.raises(ValueError, match="self_normalise: expected one process"):
        trainer_of(self_normalise=True)


def test_critic_learns_the_vtrace_target() -> None:
    policy = TablePolicy().double()
    with torch.no_grad():
        policy.critic.weight.copy_(torch.tensor([[1.0], [0.0], [3.0], [0.0], [0.0], [0.0]]))
    # Ratios 1/2 and 4, of which 1 counts: v = 3 + (8 - 3) = 8 after the first step, and 1 + (2 + 8 / 2 - 1) / 2 before it.
    rows = by_hand([[2, 4]], [[2.0, 8.0]])
    rows = rows.replace(logp=policy(rows).logp.detach() - torch.tensor([[0.5, 4.0]]).log())
    loss = 3.0 * (policy(rows).value - torch.tensor([[3.5, 8.0]])).square().sum() / 2 / 2
    expected = flat_gradient(loss, policy.critic)
    found = gradient_of(trainer_of(policy, gamma=0.5, vf_coef=3.0), rows)
    torch.testing.assert_close(found[-6:], expected, rtol=1e-6, atol=1e-6)
