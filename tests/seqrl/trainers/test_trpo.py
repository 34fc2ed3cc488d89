from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_tokens import TablePolicy, TokenPolicy, TokenTask, by_hand, flat_weights

from seqrl.distributions import Categorical
from seqrl.functional.natural_gradient import conjugate_gradient, fisher_product
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.tokens import TokenPolicy as TextPolicy
from seqrl.trainers.trpo import TRPO, TRPOConfig
from seqrl.trajectory import Evaluation, Trajectory


def trainer_of(policy: nn.Module | None = None, **settings: Any) -> TRPO:
    config = TRPOConfig(**({"optimiser": OptimiserConfig(learning_rate=0.05), "gamma": 1.0} | settings))
    return config.build(TablePolicy() if policy is None else policy, seed=0, num_updates=100)


def random_system(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(size), torch.randn(size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 3, 12])
def test_conjugate_gradient_solves_what_elimination_solves(size: int) -> None:
    matrix, right = random_system(size)
    x, residual = conjugate_gradient(lambda vector: matrix @ vector, right, 3 * size, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)
    assert residual < 1e-10


def test_fewer_iterations_leave_the_residual_that_is_reported() -> None:
    matrix, right = random_system(12)
    x, residual = conjugate_gradient(lambda vector: matrix @ vector, right, 4)
    assert residual > 1e-3 and residual == pytest.approx(float((right - matrix @ x).norm()), rel=1e-9)


def test_fisher_product_is_that_of_the_matrix_of_scores() -> None:
    # F = sum_s share(s) sum_a pi(a|s) grad log pi(a|s) grad log pi(a|s)', written out over every token and action.
    policy = TokenPolicy(num_tokens=3, width=2, seed=3).double()
    parameters = [policy.embedding.weight, policy.head.weight, policy.head.bias]
    states = torch.tensor([0, 1, 1, 2])
    logp = policy.logp_and_value(states)[0]
    size = sum(parameter.numel() for parameter in parameters)
    fisher = torch.zeros(size, size, dtype=torch.float64)
    for state, action in itertools.product(range(4), range(3)):
        score = torch.cat([g.flatten() for g in torch.autograd.grad(logp[state, action], parameters, retain_graph=True)])
        fisher += logp[state, action].exp().item() * torch.outer(score, score) / 4
    divergence = Categorical(logp.detach()).kl(Categorical(policy.logp_and_value(states)[0])).mean()
    product = fisher_product(divergence, parameters)
    columns = torch.stack([product(unit) for unit in torch.eye(size, dtype=torch.float64)], dim=1)
    assert float(fisher.abs().max()) > 0.01
    torch.testing.assert_close(columns, fisher, rtol=0, atol=1e-12)


@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_fisher_product_of_an_actor_critic_is_that_of_its_logits(memory: Any) -> None:
    # F = mean of J' (diag(p) - p p') J with J the derivatives of the logits; hand-written backward passes must allow the second one.
    sizes = (ObservationSize((2,)), ActionSize(num_actions=3), (3,), ActorCriticConfig(memory=memory, memory_size=2, actor_gain=1.0))
    policy = ActorCritic(*sizes, generator=torch.Generator().manual_seed(0)).double()
    none, off = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.bool)
    obs = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = Trajectory(off.long(), none, torch.zeros(2, 4, dtype=torch.float64), none, off, off, ~off, obs=obs)
    parameters = trainer_of(policy).actor_parameters
    distribution: Any = policy(rows).distribution
    size = sum(parameter.numel() for parameter in parameters)
    fisher = torch.zeros(size, size, dtype=torch.float64)
    for logits in distribution.logits.flatten(0, 1).double():
        rates = [torch.autograd.grad(logit, parameters, retain_graph=True) for logit in logits]
        jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rates])
        p = logits.detach().softmax(-1)
        fisher += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / 6
    product = fisher_product(distribution.detach().kl(distribution).mean(), parameters)
    columns = torch.stack([product(unit) for unit in torch.eye(size, dtype=torch.float64)], dim=1)
    assert float(fisher.abs().max()) > 0.1
    torch.testing.assert_close(columns, fisher, rtol=0, atol=1e-6)


def test_step_of_a_bandit_is_the_advantage() -> None:
    # With softmax(x), F = diag(p) - p p' and the gradient is p (A - mean A): so F x = g is solved by x = A - its average.
    policy = TablePolicy(num_tokens=4).double()
    with torch.no_grad():
        policy.actor.weight[0] = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    start = policy.actor.weight.detach().clone()
    counts, reward = [1, 2, 3, 4], [3.0, -1.0, 2.0, 0.5]
    actions = [[action] for action, count in enumerate(counts) for _ in range(count)]
    rows = by_hand(actions, [[reward[action]] for (action,) in actions])
    stats = trainer_of(policy, max_kl=1e-6, damping=0.0).update(rows)
    change = (policy.actor.weight.detach() - start)[0]
    expected = torch.tensor(reward, dtype=torch.float64) - sum(reward) / 4
    torch.testing.assert_close(change / change.norm(), expected / expected.norm(), rtol=0, atol=2e-3)
    assert bool((policy.actor.weight.detach()[1:] == start[1:]).all())
    assert 0.4e-6 < stats["policy/kl_step"] <= 1e-6  # the whole quadratic step, or one that is 0.7 of it


@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 0.5])
def test_step_raises_the_objective_within_the_bound(max_kl: float) -> None:
    trainer = trainer_of(max_kl=max_kl, num_samples=10, damping=1e-3)
    before = copy.deepcopy(trainer.policy)
    rows = trainer.collect(TokenTask())
    stats = trainer.update(rows)
    with torch.no_grad():
        old, new = before(rows), trainer.policy(rows)
        p, q = old.distribution.logits.softmax(-1), new.distribution.logits.softmax(-1)
        divergence = float((p * (p / q).log()).sum(-1)[rows.mask].mean())
    assert stats["policy/step_taken"] == 1
    assert 0.2 * max_kl < divergence <= max_kl * (1 + 1e-4)
    assert stats["policy/kl_step"] == pytest.approx(divergence, rel=1e-2)  # the small one is near the rounding of fp32
    assert stats["policy/objective_gain"] > 0


def test_without_advantages_nothing_moves() -> None:
    trainer = trainer_of()
    rows = by_hand([[2, 1], [3, 1]], [[0.0, 0.0]] * 2)
    rows = rows.replace(reward=rows.reward.float(), value=rows.value.float(), logp=rows.logp.float())
    before = copy.deepcopy(trainer.policy.actor)
    stats = trainer.update(rows)
    assert torch.equal(trainer.policy.actor.weight, before.weight)
    assert stats["policy/step_taken"] == stats["policy/kl_step"] == 0


def test_a_step_that_would_lower_the_objective_is_shortened() -> None:
    trainer = trainer_of(num_samples=10)
    rows = trainer.collect(TokenTask())
    step = torch.cat([torch.randn(36, generator=torch.Generator().manual_seed(0))]) * 100
    before = flat_weights(trainer.policy)

    def measure(now: Evaluation) -> tuple[Tensor, Tensor]:
        return -now.entropy.mean() * 0 - (now.logp * 0).mean(), now.entropy.mean() * 0  # never rises

    stats = trainer._line_search(rows, measure, step)
    assert stats["policy/step_taken"] == 0 and stats["policy/line_search_steps"] == 10
    assert torch.equal(flat_weights(trainer.policy), before)


@pytest.mark.parametrize("unit", ["rows", "steps"])
def test_learns_the_toy_task_and_its_values(unit: str) -> None:
    trainer, task = trainer_of(num_samples=5, max_kl=0.05, minibatch_unit=unit), TokenTask()
    for _ in range(25):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6  # 0.15 at first
    assert stats["optimiser/grad_norm"] > 0
    assert all(parameter.requires_grad for parameter in trainer.policy.parameters())


def test_the_critic_alone_belongs_to_the_optimiser() -> None:
    trainer = trainer_of(max_kl=1e-12, num_samples=5)
    before = copy.deepcopy(trainer.policy)
    trainer.update(trainer.collect(TokenTask()))
    assert (trainer.policy.critic.weight - before.critic.weight).abs().max() > 0.01
    assert (trainer.policy.actor.weight - before.actor.weight).abs().max() < 1e-4


def test_resumed_run_ends_with_the_same_bits(tmp_path: Any) -> None:
    def run(trainer: TRPO, count: int) -> None:
        for _ in range(count):
            trainer.update(trainer.collect(TokenTask(num_contexts=4)))

    whole, first, second = (trainer_of(TablePolicy(seed=seed), num_samples=4, minibatch_unit="steps") for seed in (1, 1, 2))
    run(whole, 6)
    run(first, 3)
    torch.save({"trainer": first.state_dict(), "policy": first.policy.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.policy.load_state_dict(state["policy"])
    second.load_state_dict(state["trainer"])
    run(second, 3)
    assert torch.equal(flat_weights(second.policy), flat_weights(whole.policy))


class NoCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


def test_policies_that_it_cannot_serve_are_refused() -> None:
    with pytest.raises(ValueError, match="trpo: expected .*critic.*reinforce"):
        trainer_of(NoCritic())
    with pytest.raises(ValueError, match="trpo: expected .*distribution.*got a TokenPolicy.*choose the trainer ppo"):
        trainer_of(TextPolicy(nn.Identity()))  # before anything is sampled
    with pytest.raises(ValueError, match="distribution"):
        trainer = trainer_of(TokenPolicy())
        trainer.update(trainer.collect(TokenTask()))


def test_an_auxiliary_loss_that_is_not_announced_is_refused() -> None:
    class Silent(TablePolicy):
        def forward(self, trajectory: Trajectory) -> Evaluation:
            evaluation = super().forward(trajectory)
            return dataclasses.replace(evaluation, aux_loss=evaluation.value.mean())

    trainer = trainer_of(Silent())
    with pytest.raises(ValueError, match="trainer trpo: expected a policy that counts.*got a Silent without a method `aux_count`"):
        trainer.update(trainer.collect(TokenTask()))


def test_steps_with_broken_numbers_are_skipped_and_counted() -> None:
    trainer = trainer_of(optimiser=OptimiserConfig(max_skipped_updates=3))
    rows = trainer.collect(TokenTask())
    before = flat_weights(trainer.policy)
    broken = rows.replace(reward=rows.reward * float("nan"))
    for _ in range(2):
        stats = trainer.update(broken)
        assert (stats["policy/step_taken"], stats["optimiser/skipped_share"]) == (0.0, 1.0)
        assert torch.equal(flat_weights(trainer.policy), before)
    trainer.update(rows)
    after = flat_weights(trainer.policy)
    assert after.isfinite().all() and not torch.equal(after, before)
    trainer.update(broken)
    trainer.update(broken)
    resumed = trainer_of(trainer.policy, optimiser=OptimiserConfig(max_skipped_updates=3))
    resumed.load_state_dict(trainer.state_dict())
    for one in (trainer, resumed):
        with pytest.raises(ValueError, match="the policy's gradient is not finite at update 5; .*last 3 updates"):
            one.update(broken)
    assert torch.equal(flat_weights(trainer.policy), after)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_kl": 0.0},
        {"backtrack": 1.0},
        {"critic_epochs": 0},
        {"minibatch_unit": "pages"},
        {"gamma": 1.5},
        {"gae_lambda": -0.1},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TRPOConfig(**settings)


def test_dummy_steps_may_hold_what_the_policy_forbids() -> None:
    policy, rows = TablePolicy(), by_hand([[2, 3, 4], [3, 3, 5]], [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    with torch.no_grad():
        policy.actor.weight[2, 3] = policy.actor.weight[3, 3] = -math.inf  # after which both rows' second action is impossible
    rows = rows.replace(
        **{name: getattr(rows, name).float() for name in ("reward", "value", "logp")},
        mask=torch.tensor([[True, False, True]] * 2),
        terminated=torch.tensor([[True, False, True]] * 2),
    )
    stats = trainer_of(policy).update(rows)
    assert stats["policy/step_taken"] == 1 and stats["policy/objective_gain"] > 0
