from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_tokens import TablePolicy, TokenPolicy, TokenTask, by_hand, flat_weights, gradient_of

from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.a2c import A2CConfig
from seqrl.trainers.vtrace import VTrace, VTraceConfig
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.05)


def trainer_of(policy: nn.Module | None = None, **settings: Any) -> VTrace:
    policy = TokenPolicy() if policy is None else policy
    return VTraceConfig(**({"optimiser": FAST} | settings)).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize("lag", [0, 1, 4])
def test_learns_the_toy_task(lag: int) -> None:
    trainer, task = trainer_of(actor_lag=lag, num_samples=5, gamma=1.0), TokenTask()
    for _ in range(25):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6  # 0.15 at first


def test_fresh_rows_give_the_gradient_of_a2c() -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[2, 4, 1, 3], [5, 1, 0, 2], [3, 3, 1, 1]], [[1.0, 2.0, 4.0, 3.0], [3.0, 5.0, 0.0, 0.0], [1.0, 0.5, -1.0, 2.0]])
    ends = torch.zeros(3, 4, dtype=torch.bool)
    terminated, truncated = ends.clone(), ends.clone()
    terminated[1, 1] = truncated[2, 0] = True
    mask = ~ends
    mask[1, 2] = mask[2, 1] = False  # the dummy steps after the ends
    rows = rows.replace(terminated=terminated, truncated=truncated, mask=mask)
    value = policy.logp_and_value(rows.obs)[1].detach()  # type: ignore[arg-type]
    rows = rows.replace(logp=policy(rows).logp.detach(), value=value)
    ours = gradient_of(trainer_of(policy, actor_lag=0, gamma=0.9, ent_coef=0.1), rows)
    a2c = A2CConfig(gamma=0.9, ent_coef=0.1, optimiser=FAST).build(policy, seed=0, num_updates=1)
    # The values in the rows are not read: those of the learner are.
    other = gradient_of(trainer_of(policy, actor_lag=0, gamma=0.9, ent_coef=0.1), rows.replace(value=value + 7))
    torch.testing.assert_close(ours, gradient_of(a2c, rows), rtol=0, atol=1e-7)
    torch.testing.assert_close(ours, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        # Ratios 2 and 1/2, rewards 2 and 4, gamma 1/2, V = 0. With rho = 1, 1/2: v_1 = 2, then 1 (2 + 2/2) and 4/2.
        ({"rho_bar": 1.0}, [3.0, 2.0]),
        ({"rho_bar": 2.0}, [6.0, 2.0]),  # rho = 2, 1/2: 2 (2 + 2/2)
        ({"corrected": False}, [4.0, 4.0]),  # 2 + 4/2
    ],
)
def test_weights_by_hand(settings: dict[str, Any], advantages: list[float]) -> None:
    policy = TablePolicy().double()
    nn.init.zeros_(policy.critic.weight)
    rows = by_hand([[2, 4]], [[2.0, 4.0]])
    rows = rows.replace(logp=policy(rows).logp.detach() - torch.tensor([[math.log(2), -math.log(2)]]))
    trainer = trainer_of(policy, gamma=0.5, ent_coef=0.0, vf_coef=0.0, **settings)
    loss = -(policy(rows).logp * torch.tensor([advantages])).sum() / 2
    parts = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient_of(trainer, rows), torch.cat([part.flatten() for part in parts]), rtol=0, atol=1e-6)


NEXT, REWARD = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
MU, PI = torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([[0.9, 0.1], [0.2, 0.8]])


def exact_values(policy: Tensor, gamma: float) -> Tensor:
    """Solve V = r + gamma P V for the two states."""
    moves = torch.zeros(2, 2).index_put((torch.tensor([[0, 0], [1, 1]]), NEXT), policy, accumulate=True)
    return torch.linalg.solve(torch.eye(2) - gamma * moves, (policy * REWARD).sum(dim=1))


def walk(num_rows: int, num_steps: int, generator: torch.Generator) -> Trajectory:
    """Act with mu."""
    states, actions = [torch.randint(2, (num_rows,), generator=generator)], []
    for _ in range(num_steps):
        actions.append(torch.multinomial(MU[states[-1]], 1, generator=generator).squeeze(1))
        states.append(NEXT[states[-1], actions[-1]])
    obs, action = torch.stack(states, dim=1), torch.stack(actions, dim=1)
    off = torch.zeros(action.shape, dtype=torch.bool)
    logp = MU[obs[:, :-1], action].log()
    return Trajectory(action, logp, torch.zeros(obs.shape), REWARD[obs[:, :-1], action], off, off, ~off, obs=obs)


@pytest.mark.parametrize("rho_bar", [1.0, 100.0])
def test_values_converge_to_the_fixed_point(rho_bar: float) -> None:
    # The values of the policy that is proportional to min(rho_bar mu, pi), which lies between mu and pi (Espeholt et al. 2018).
    policy = TablePolicy(num_tokens=2)
    with torch.no_grad():
        policy.actor.weight.copy_(PI.log())
        policy.critic.weight.zero_()
    policy.actor.requires_grad_(False)
    settings = OptimiserConfig(learning_rate=0.3, schedule="linear", max_grad_norm=0.0)
    config = VTraceConfig(rho_bar=rho_bar, gamma=0.8, ent_coef=0.0, vf_coef=1.0, optimiser=settings)
    trainer, generator = config.build(policy, seed=0, num_updates=120), torch.Generator().manual_seed(0)
    for _ in range(120):
        trainer.update(walk(512, 6, generator))
    middle = torch.minimum(rho_bar * MU, PI)
    fixed = exact_values(middle / middle.sum(dim=1, keepdim=True), 0.8)
    found = policy.critic.weight.detach()[:, 0]
    torch.testing.assert_close(found, fixed, rtol=0, atol=0.06)
    others = [exact_values(other, 0.8) for other in (MU, PI)]
    distances = [float((fixed - other).abs().max()) for other in others]
    assert distances[0] > 0.3 and (distances[1] > 0.3 if rho_bar == 1 else distances[1] < 1e-5)


def test_actors_lag_behind_by_the_set_number_of_updates() -> None:
    trainer, task = trainer_of(actor_lag=3, num_samples=2), TokenTask()
    weights = []
    for update in range(6):
        weights.append({name: tensor.clone() for name, tensor in trainer.policy.state_dict().items()})
        rows = trainer.collect(task)
        assert all(torch.equal(tensor, weights[-1][name]) for name, tensor in trainer.policy.state_dict().items())
        for ago in range(update + 1):
            acted = TokenPolicy()
            acted.load_state_dict(weights[update - ago])
            same = torch.allclose(acted(rows).logp[rows.mask], rows.logp[rows.mask], atol=1e-6)
            assert same == (ago == min(3, update))
        trainer.update(rows)


class BrokenTask(TokenTask):
    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        raise RuntimeError("the environment broke")


def test_a_broken_rollout_leaves_the_learners_weights() -> None:
    trainer, task = trainer_of(actor_lag=2), TokenTask()
    for _ in range(3):
        trainer.update(trainer.collect(task))
    before = flat_weights(trainer.policy)
    with pytest.raises(RuntimeError, match="broke"):
        trainer.collect(BrokenTask())
    assert torch.equal(flat_weights(trainer.policy), before)
    # The rollout that follows, after a resume for instance, acts with the weights of two updates ago all the same.
    unbroken = trainer_of(actor_lag=2)
    for _ in range(3):
        unbroken.update(unbroken.collect(task))
    for each in (trainer, unbroken):
        each.optimiser.generator.manual_seed(9)
    assert torch.equal(trainer.collect(task).logp, unbroken.collect(task).logp)


@pytest.mark.parametrize("lag", [0, 2, 5])
def test_resumed_run_ends_with_the_same_bits(lag: int, tmp_path: Path) -> None:
    def run(trainer: VTrace, count: int) -> None:
        for _ in range(count):
            trainer.update(trainer.collect(TokenTask(num_contexts=4)))

    whole, first, second = (trainer_of(TokenPolicy(seed=seed), actor_lag=lag) for seed in (1, 1, 2))
    run(whole, 6)
    run(first, 3)
    torch.save({"trainer": first.state_dict(), "policy": first.policy.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.policy.load_state_dict(state["policy"])
    second.load_state_dict(state["trainer"])
    run(second, 3)
    assert torch.equal(flat_weights(second.policy), flat_weights(whole.policy))


@pytest.mark.parametrize("settings", [{"actor_lag": -1}, {"c_bar": 2.0}, {"num_samples": 0}, {"gamma": 1.5}])
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        VTraceConfig(**settings)


def test_a_policy_without_a_critic_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"vtrace: expected .*critic.*Linear.*reinforce"):
        VTraceConfig().build(nn.Linear(2, 2), seed=0, num_updates=1)
